import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CsvPlan, csvFault, placeCsvPlan, planCsv } from '../../src/bulk-load/formats/csv.js';
import { parseSelector } from '../../src/bulk-load/formats/template.js';
import {
  CHUNK_BLOB,
  CHUNK_COUNT,
  CHUNK_END,
  CHUNK_HEAD_BYTES,
  CSV_BAD,
  CSV_BAD_AFTER_QUOTE,
  CSV_BAD_FIELD_COUNT,
  CSV_BAD_KEY_MISSING,
  CSV_BAD_QUOTE_IN_FIELD,
  CSV_BAD_UNTERMINATED,
  CSV_BAD_UTF8,
  CSV_CHUNK,
  CSV_CURSOR,
  CSV_DONE,
  CSV_FINAL,
  CSV_FULL,
  CSV_LARGE,
  CSV_LARGE_BYTES,
  CSV_MORE,
  CSV_RECORD,
  CSV_RESULT_FIELDS,
  CSV_RESULT_KEY,
  CSV_RESULT_KEY_LENGTH,
  CSV_RESULT_VALUE_LENGTH,
  CSV_STOP,
  CSV_TEXT_END,
  CSV_VALUE_BYTES_MAX,
  CSV_VALUE_LARGE,
} from '../../src/kernel/assembly/load-layout.js';
import { parseCsv } from './csv-reference.js';
import { loadKernel } from './load-kernel.js';

const MIB = 1024 * 1024;
const STATE = 65536;
const TEXT = 1 * MIB;
const CHUNK = 4 * MIB;
const CHUNK_BYTES = 8 * MIB;
const LARGE = 16 * MIB;
const LARGE_BYTES = 4 * MIB;

const kernel = loadKernel(24 * MIB);
const { u32, bytes, exports } = kernel;
const set = (address: number, value: number): void => {
  u32[address >>> 2] = value;
};
const get = (address: number): number => u32[address >>> 2] as number;

/** `key=value`, or `!start:fault`. */
type Outcome = string;

interface ParseOptions {
  /** Text is in memory up to each of these places before the rest follows. */
  readonly cuts?: readonly number[];
  readonly valueBytesMax?: number;
  readonly chunkBytes?: number;
}

function entriesOf(chunk: number): Outcome[] {
  const outcomes: Outcome[] = [];
  let at = chunk + CHUNK_HEAD_BYTES;
  const end = get(chunk + CHUNK_END);
  for (let i = 0; i < get(chunk + CHUNK_COUNT); i++) {
    const keyLength = (get(end - 8 * (i + 1)) & ~CHUNK_BLOB) >>> 0;
    const valueLength = get(end - 8 * (i + 1) + 4);
    const key = bytes.toString('utf8', at, at + keyLength);
    outcomes.push(`${key}=${bytes.toString('utf8', at + keyLength, at + keyLength + valueLength)}`);
    at += keyLength + valueLength;
  }
  return outcomes;
}

function parse(text: string | Buffer, plan: CsvPlan, options: ParseOptions = {}): Outcome[] {
  const { cuts = [], valueBytesMax = 512 * 1024, chunkBytes = CHUNK_BYTES } = options;
  const input = Buffer.from(text as string);
  bytes.fill(0x2c, TEXT, TEXT + input.length + 64);
  expect(placeCsvPlan(kernel, plan, STATE)).toBeLessThan(TEXT);
  exports.chunkInit(CHUNK, chunkBytes);
  const ends = [...cuts.filter((cut) => cut < input.length), input.length];
  let loaded = 0;
  const load = (): void => {
    const end = ends.shift() ?? input.length;
    input.copy(bytes, TEXT + loaded, loaded, end);
    loaded = end;
    set(STATE + CSV_TEXT_END, TEXT + loaded);
    set(STATE + CSV_FINAL, ends.length === 0 ? 1 : 0);
  };
  load();
  set(STATE + CSV_CURSOR, TEXT);
  set(STATE + CSV_STOP, TEXT + input.length);
  set(STATE + CSV_CHUNK, CHUNK);
  set(STATE + CSV_VALUE_BYTES_MAX, valueBytesMax);
  set(STATE + CSV_LARGE, LARGE);
  set(STATE + CSV_LARGE_BYTES, LARGE_BYTES);
  const outcomes: Outcome[] = [];
  const takeEntries = (): void => {
    outcomes.push(...entriesOf(CHUNK));
    exports.chunkInit(CHUNK, chunkBytes);
  };
  for (;;) {
    const status = exports.csvParse(STATE);
    takeEntries();
    if (status === CSV_DONE) return outcomes;
    if (status === CSV_FULL) continue;
    if (status === CSV_MORE) {
      load();
      continue;
    }
    if (status === CSV_VALUE_LARGE) {
      const key = get(STATE + CSV_RESULT_KEY);
      const value = key + get(STATE + CSV_RESULT_KEY_LENGTH);
      const end = value + get(STATE + CSV_RESULT_VALUE_LENGTH);
      outcomes.push(
        `LARGE ${bytes.toString('utf8', key, value)}=${bytes.toString('utf8', value, end)}`,
      );
      continue;
    }
    expect(status).toBeGreaterThanOrEqual(CSV_BAD);
    const fields = get(STATE + CSV_RESULT_FIELDS);
    const fault = csvFault(status, { fields, columns: plan.columns });
    outcomes.push(`!${get(STATE + CSV_RECORD) - TEXT}:${fault}`);
  }
}

interface PlanOptions {
  readonly columns: number;
  readonly key?: string | number;
  readonly value?: string | number;
  readonly names?: readonly string[];
  readonly delimiter?: string;
  readonly quotes?: boolean;
}

function plan(options: PlanOptions): CsvPlan {
  return planCsv({
    columns: options.columns,
    names: options.names,
    firstRow: options.names ?? [],
    delimiter: (options.delimiter ?? ',').charCodeAt(0),
    quotes: options.quotes ?? true,
    key: parseSelector('key', options.key ?? 0),
    value: parseSelector('value', options.value ?? '*'),
    keyAsJson: false,
    valueAsJson: false,
  });
}

const fault = (status: number, fields = 0, columns = 2): string =>
  csvFault(status, { fields, columns });

/** What the reference makes of a text, for a plan that takes column 0 and all columns as a list. */
function expected(text: string, columns: number, delimiter: string, quotes: boolean): Outcome[] {
  return parseCsv(text, delimiter, quotes).map((row) => {
    if (row.fault !== undefined) {
      const status = {
        unterminated: CSV_BAD_UNTERMINATED,
        'after quote': CSV_BAD_AFTER_QUOTE,
        'quote in field': CSV_BAD_QUOTE_IN_FIELD,
      }[row.fault];
      return `!${Buffer.byteLength(text.slice(0, row.start))}:${fault(status as number)}`;
    }
    if (row.fields.length !== columns)
      return `!?:${fault(CSV_BAD_FIELD_COUNT, row.fields.length, columns)}`;
    const [key] = row.fields;
    if (key?.text === '' && !key.quoted) return `!?:${fault(CSV_BAD_KEY_MISSING)}`;
    return `${key?.text}=${JSON.stringify(row.fields.map(({ text }) => text))}`;
  });
}

/** The reference does not say where records begin that it could split. */
const withoutPlace = (outcomes: readonly Outcome[]): Outcome[] =>
  outcomes.map((outcome) => outcome.replace(/^!\d+:(\d+ fields?|the key)/, '!?:$1'));

const anyField = fc.string({
  unit: fc.constantFrom('a', 'b', ' ', ',', '\t', '"', '\n', '\r', '\\', '\u0001', 'é', '漢', '😀'),
  maxLength: 40,
});

function quote(field: string, delimiter: string, always: boolean): string {
  if (!always && !/["\r\n]/.test(field) && !field.includes(delimiter)) return field;
  return `"${field.replaceAll('"', '""')}"`;
}

describe('well-formed records', () => {
  it('of any fields are parsed as by the reference', () => {
    const rows = (columns: number) =>
      fc.array(
        fc.tuple(
          fc.array(fc.tuple(anyField, fc.boolean()), { minLength: columns, maxLength: columns }),
          fc.constantFrom('\n', '\r\n'),
        ),
        { maxLength: 12 },
      );
    fc.assert(
      fc.property(
        fc
          .integer({ min: 1, max: 5 })
          .chain((columns) => fc.tuple(fc.constant(columns), rows(columns))),
        fc.constantFrom(',', '\t', ';'),
        fc.boolean(),
        fc.array(fc.nat(400), { maxLength: 5 }),
        ([columns, records], delimiter, newlineAtEnd, cuts) => {
          let text = records
            .map(
              ([fields, end]) =>
                fields.map(([f, q]) => quote(f, delimiter, q)).join(delimiter) + end,
            )
            .join('');
          if (!newlineAtEnd) text = text.replace(/\r?\n$/, '');
          const outcomes = parse(text, plan({ columns, delimiter }), {
            cuts: [...cuts].sort((a, b) => a - b),
          });
          expect(withoutPlace(outcomes)).toEqual(
            withoutPlace(expected(text, columns, delimiter, true)),
          );
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('may be cut anywhere', () => {
    const text = `${'k1,"a ""quoted"" one"\r\n"k\n2","",\r\n'.replace(',\r\n', '\r\n')}"",x\nlast,"é漢😀"`;
    const whole = parse(text, plan({ columns: 2 }));
    expect(whole).toEqual([
      'k1=["k1","a \\"quoted\\" one"]',
      'k\n2=["k\\n2",""]',
      '=["","x"]',
      'last=["last","é漢😀"]',
    ]);
    const length = Buffer.byteLength(text);
    for (let first = 0; first < length; first++) {
      for (let second = first; second < length; second++) {
        expect(parse(text, plan({ columns: 2 }), { cuts: [first, second] })).toEqual(whole);
      }
    }
  });
});

describe('any text', () => {
  it.each([true, false])(
    'is split, and its faults found, as by the reference (quotes: %s)',
    (quotes) => {
      const character = fc.constantFrom('a', 'b', ',', ',', '"', '\n', '\r\n', '\r', 'é');
      fc.assert(
        fc.property(
          fc.array(character, { maxLength: 60 }),
          fc.array(fc.nat(60), { maxLength: 4 }),
          (characters, cuts) => {
            const text = characters.join('');
            const outcomes = parse(text, plan({ columns: 2, quotes }), {
              cuts: [...cuts].sort((a, b) => a - b),
            });
            expect(withoutPlace(outcomes)).toEqual(withoutPlace(expected(text, 2, ',', quotes)));
          },
        ),
        { numRuns: 5000 },
      );
    },
  );
});

describe('a record that cannot be read', () => {
  it.each([
    ['5" pipe,x', CSV_BAD_QUOTE_IN_FIELD],
    ['"a"b,x', CSV_BAD_AFTER_QUOTE],
    ['a,b,c', CSV_BAD_FIELD_COUNT],
    [',b', CSV_BAD_KEY_MISSING],
    [Buffer.from([0x61, 0x2c, 0xff]), CSV_BAD_UTF8],
    [Buffer.from([0x61, 0x2c, 0xed, 0xa0, 0x80]), CSV_BAD_UTF8],
  ])('is reported with its place, and the next one is read: %s', (record, status) => {
    const before = Buffer.from('k1,v1\n');
    const text = Buffer.concat([before, Buffer.from(record as string), Buffer.from('\nk2,v2\n')]);
    expect(parse(text, plan({ columns: 2, value: 1 }))).toEqual([
      'k1=v1',
      `!${before.length}:${fault(status, 3)}`,
      'k2=v2',
    ]);
  });

  it('with a quotation mark that is never closed costs its first line only', () => {
    expect(parse('k1,v1\n"k2,v2\nk3,v3\n', plan({ columns: 2, value: 1 }))).toEqual([
      'k1=v1',
      `!6:${fault(CSV_BAD_UNTERMINATED)}`,
      'k3=v3',
    ]);
  });
});

describe('key and value', () => {
  const names = ['id', 'na"me', 'note'];
  const text = '7,"An ""n""",\n8,Bo,"x\ty"\n';

  it.each([
    ['columns by number', 0, 1, ['7=An "n"', '8=Bo']],
    ['columns by name', 'id', 'note', ['7=', '8=x\ty']],
    ['templates', 'user:{id}/{{{0}}}', '<{na"me}>', ['user:7/{7}=<An "n">', 'user:8/{8}=<Bo>']],
    [
      'the record as an object',
      'id',
      '*',
      [
        '7={"id":"7","na\\"me":"An \\"n\\"","note":""}',
        '8={"id":"8","na\\"me":"Bo","note":"x\\ty"}',
      ],
    ],
  ])('come from %s', (_name, key, value, entries) => {
    expect(parse(text, plan({ columns: 3, names, key, value }))).toEqual(entries);
  });

  it('as JSON are what JSON.stringify makes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 100 }), (field) => {
        const record = `k,${quote(field, ',', true)}`;
        const [entry] = parse(record, plan({ columns: 2 }));
        expect(JSON.parse(entry?.slice(2) ?? '')).toEqual(['k', Buffer.from(field).toString()]);
      }),
      { numRuns: 1000 },
    );
  });

  it('refuse columns that are not there, or not unique', () => {
    expect(() => plan({ columns: 2, key: 2 })).toThrow(/Cannot find column "2"/);
    expect(() => plan({ columns: 2, names: ['a', 'b'], key: 'c' })).toThrow(/"a", "b"/);
    expect(() => plan({ columns: 2, names: ['a', 'a'], key: 'a' })).toThrow(/more than one column/);
    expect(() => plan({ columns: 2, names: ['a', 'a'], key: 0 })).toThrow(/more than one column/);
    expect(parse('x,y', plan({ columns: 2, names: ['a', 'a'], key: 1, value: 0 }))).toEqual([
      'y=x',
    ]);
  });
});

describe('large values', () => {
  it('are handed over one by one, in their order', () => {
    const large = 'L"'.repeat(50);
    const text = `k1,v1\nk2,"${large.replaceAll('"', '""')}"\nk3,v3`;
    expect(parse(text, plan({ columns: 2, value: 1 }), { valueBytesMax: 99 })).toEqual([
      'k1=v1',
      `LARGE k2=${large}`,
      'k3=v3',
    ]);
  });

  it('that only might be too large for a chunk are put together apart', () => {
    const field = 'x'.repeat(400_000);
    expect(parse(`k1,${field}\nk2,y`, plan({ columns: 2 }))).toEqual([
      `k1=["k1","${field}"]`,
      'k2=["k2","y"]',
    ]);
  });

  it('beyond the room for one are a fault', () => {
    const text = `k1,${'x'.repeat(1_500_000)}\nk2,y`;
    const value = '{1}{1}{1}{1}';
    expect(parse(text, plan({ columns: 2, value }))).toEqual([
      `!0:the value is too long`,
      'k2=yyyy',
    ]);
  });

  it('leave a chunk that is full as it is', () => {
    const text = Array.from({ length: 3000 }, (_, i) => `key-${i},${'v'.repeat(i % 90)}\n`).join(
      '',
    );
    const whole = parse(text, plan({ columns: 2 }));
    expect(whole).toHaveLength(3000);
    expect(parse(text, plan({ columns: 2 }), { chunkBytes: 65536 })).toEqual(whole);
  });
});
