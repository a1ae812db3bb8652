import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { detectDelimiter, detectFormat, detectHeader } from '../../src/bulk-load/formats/detect.js';
import { jsonFieldText } from '../../src/bulk-load/formats/json-field.js';
import {
  JsonRecordReader,
  type JsonSelector,
  RecordFault,
} from '../../src/bulk-load/formats/json-record.js';
import { parseSelector, selectorFields } from '../../src/bulk-load/formats/template.js';
import { divideBulkLoadOptions } from '../../src/bulk-load/options.js';

describe('a selector', () => {
  it.each([
    [2, { kind: 'field', name: '2' }],
    ['user.id', { kind: 'field', name: 'user.id' }],
    ['*', { kind: 'record' }],
    [
      'user:{id}/{{{0}}}',
      {
        kind: 'template',
        pieces: [
          { kind: 'literal', text: 'user:' },
          { kind: 'field', name: 'id' },
          { kind: 'literal', text: '/{' },
          { kind: 'field', name: '0' },
          { kind: 'literal', text: '}' },
        ],
      },
    ],
  ])('%j is understood', (selector, expected) => {
    expect(parseSelector('key', selector)).toEqual(expected);
  });

  it.each(['{', '}', 'a{b', 'a}b', '{}', '{a{b}', '{{x}}', -1, 1.5, null])(
    '%j is refused',
    (selector) => {
      expect(() => parseSelector('key', selector as string)).toThrow(/Option "key"/);
    },
  );

  it('names its fields', () => {
    expect(selectorFields(parseSelector('key', '{a}-{b.c}'))).toEqual(['a', 'b.c']);
  });
});

describe('the format', () => {
  it.each([
    ['x.csv', '{"a":1}', 'csv'],
    ['x.CSV.gz', '', 'csv'],
    ['x.tsv', '', 'tsv'],
    ['x.jsonl.gz', '', 'ndjson'],
    ['x.json', '[{"a":1},\n{"a":2}]', 'json'],
    ['x.json', '{"a":1}\n{"a":2}\n', 'ndjson'],
    ['x.json', '["a",1]\n["b",2]\n', 'ndjson'],
    ['x', '[["a",1]]\n', 'json'],
    [undefined, 'a\tb\n', 'tsv'],
    [undefined, 'a,b\tc\n', 'csv'],
    [undefined, '', 'csv'],
  ])('of %j with %j is %s', (name, head, format) => {
    expect(detectFormat(name, head)).toBe(format);
  });

  it.each([
    ['a,b;c', ','],
    ['a;b;c', ';'],
    ['"a,b,c";d', ';'],
    ['a|b', '|'],
    ['a', ','],
  ])('of a first row %j has the delimiter %j', (row, delimiter) => {
    expect(detectDelimiter(row)).toBe(delimiter);
  });

  it.each<[string, string[][], string[], boolean]>([
    [
      'a column is referred to by name',
      [
        ['x', 'y'],
        ['1', '2'],
      ],
      ['y'],
      true,
    ],
    [
      'names stand above numbers',
      [
        ['city', 'people'],
        ['Rome', '2,800,000'],
      ],
      [],
      true,
    ],
    [
      'one is called id',
      [
        ['id', 'word'],
        ['a', 'b'],
      ],
      [],
      true,
    ],
    [
      'all rows look alike',
      [
        ['alice', 'hello'],
        ['bob', 'world'],
      ],
      [],
      false,
    ],
    [
      'the first row has numbers',
      [
        ['k1', '17'],
        ['k2', '18'],
      ],
      [],
      false,
    ],
    [
      'a name occurs twice',
      [
        ['id', 'id'],
        ['1', '2'],
      ],
      [],
      false,
    ],
    ['there is one row of words', [['alice', 'hello']], [], false],
    [
      'only numbers are referred to',
      [
        ['5', '6'],
        ['7', '8'],
      ],
      ['5'],
      false,
    ],
  ])('has a header when it should: %s', (_name, rows, referred, expected) => {
    expect(detectHeader(rows, referred)).toBe(expected);
  });
});

describe('a field of JSON', () => {
  it('is found with the digits it has in the source', () => {
    const text =
      ' {"a" : [1, {"b,]": "x\\"}", "c": -1.50e+3 }], "a2": 1, "a": [ {"n": 12345678901234567890} ] } ';
    expect(jsonFieldText(text, ['a', '0', 'n'])).toBe('12345678901234567890');
    expect(jsonFieldText(text, ['a2'])).toBe('1');
    expect(jsonFieldText(text, ['a', '1'])).toBeUndefined();
    expect(jsonFieldText(text, ['a2', 'x'])).toBeUndefined();
  });

  it('of any JSON is what JSON.parse finds', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.nat(3), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        const walk = (at: unknown, path: string[]): void => {
          expect(JSON.parse(jsonFieldText(text, path) ?? 'missing')).toEqual(at);
          if (typeof at !== 'object' || at === null) return;
          for (const [name, member] of Object.entries(at)) walk(member, [...path, name]);
        };
        walk(JSON.parse(text), []);
      }),
    );
  });
});

describe('a record of JSON', () => {
  const read = (text: string, key: JsonSelector, value: JsonSelector, asJson = false) =>
    new JsonRecordReader({ key, value, keyAsJson: asJson, valueAsJson: asJson }).read(text);
  const field = (name: string): JsonSelector => parseSelector('value', name);
  const pair: JsonSelector = { kind: 'pair' };

  it.each<[string, JsonSelector, JsonSelector, string, string | undefined]>([
    ['{"id":"x","n":5}', field('id'), { kind: 'record' }, 'x', undefined],
    ['{"id":17,"n":1.50}', field('id'), field('n'), '17', '1.50'],
    ['{"id":9007199254740993,"n":null}', field('id'), field('n'), '9007199254740993', 'null'],
    ['{"a":{"b":[true]},"a.b.0":"direct"}', field('a.b.0'), field('a.b'), 'direct', '[true]'],
    ['{"a":1,"b":"two"}', field('{b}-{a}'), field('<{b}>'), 'two-1', '<two>'],
    ['["k",{"v": 1}]', pair, pair, 'k', '{"v": 1}'],
    ['{"key":false,"value":"v"}', pair, pair, 'false', 'v'],
    ['{"__proto__":"p","value":"v"}', field('__proto__'), pair, 'p', 'v'],
  ])('%s gives its key and value', (text, key, value, expectedKey, expectedValue) => {
    expect(read(text, key, value)).toEqual({ key: expectedKey, value: expectedValue });
  });

  it('gives JSON where the database wants JSON', () => {
    expect(read('["k","v"]', pair, pair, true)).toEqual({ key: '"k"', value: '"v"' });
    expect(read('[1,{"a": 2}]', pair, pair, true)).toEqual({ key: '1', value: '{"a": 2}' });
  });

  it.each([
    ['{', /not JSON/],
    ['"text"', /key field "key" is missing/],
    ['[]', /key field "0" is missing/],
    ['["k"]', /value field "1" is missing/],
    ['{"key":null,"value":1}', /is null/],
    ['{"key":[1],"value":1}', /an object or a list/],
    ['{"key":"\\ud800","value":1}', /surrogate/],
    ['["k","\\ude00x"]', /surrogate/],
  ])('%s is a fault', (text, message) => {
    expect(() => read(text, pair, pair)).toThrow(RecordFault);
    expect(() => read(text, pair, pair)).toThrow(message);
  });
});

describe('options', () => {
  it('are divided into those of the load and those of the database', () => {
    expect(divideBulkLoadOptions({ shards: 3, key: 'id', onError: 'skip' } as never)).toEqual({
      load: { key: 'id', onError: 'skip' },
      config: { shards: 3 },
    });
  });
});
