/** What all commands share: their options, how they open a database, how they print. */

import { Command, InvalidArgumentError as CommanderInvalidArgument, Option } from 'commander';
import { LightningDb, type LightningDbConfig } from '../../index.js';
import type { Output } from '../output.js';
import { unescapeField } from '../text-escape.js';

/** The command line works on bytes: it cannot know what an application's encodings were. */
export type BytesDb = Awaited<ReturnType<typeof openBytes>>;

export interface CommonOptions {
  readonly path: string;
  readonly json: boolean;
}

/** What a command is given besides its options. */
export interface CommandContext {
  readonly output: Output;
  /** Notes and progress: never in the way of results. */
  readonly notes: NodeJS.WriteStream;
  readonly input: NodeJS.ReadStream;
  /** The exit code of a command that did what it was asked to. */
  setExitCode(code: number): void;
}

/** A command with `--path`, `--json` and an example in its help. */
export function newCommand(name: string, description: string, example: string): Command {
  return new Command(name)
    .description(description)
    .summary(description.slice(0, description.indexOf('.')))
    .addOption(
      new Option('-p, --path <directory>', 'directory of the database')
        .env('LIGHTNING_DB_PATH')
        .makeOptionMandatory(),
    )
    .option('--json', 'print JSON, for programs', false)
    .addHelpText('after', `\nExample:\n  ${example.replaceAll('\n', '\n  ')}`);
}

/** `--escapes` for commands that take keys or values as arguments. */
export function escapesOption(): Option {
  return new Option(
    '-e, --escapes',
    'keys and values as `scan` writes them: \\t \\n \\\\ \\xNN',
  ).default(false);
}

export async function openBytes(path: string, config: LightningDbConfig) {
  return LightningDb.open(path, { ...config, keyEncoding: 'buffer', valueEncoding: 'buffer' });
}

/** Opens for reading; nothing on disk changes. */
export function openForReading({ path }: CommonOptions): Promise<BytesDb> {
  return openBytes(path, { readOnly: true });
}

/** Runs `action` on an open database and closes it, whatever happens. */
export async function withDatabase<T>(
  opening: Promise<BytesDb>,
  action: (db: BytesDb) => Promise<T>,
): Promise<T> {
  const db = await opening;
  try {
    return await action(db);
  } finally {
    await db.close();
  }
}

/** The bytes an argument stands for. */
export function argumentBytes(text: string, escapes: boolean): Buffer {
  return escapes ? unescapeField(text) : Buffer.from(text);
}

/** Bytes in JSON: `{ key: text }`, or `{ keyBase64: … }` when they are not UTF-8. */
export function jsonField(name: string, bytes: Uint8Array): Record<string, string> {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoded = text.toString();
  return Buffer.compare(Buffer.from(decoded), text) === 0
    ? { [name]: decoded }
    : { [`${name}Base64`]: text.toString('base64') };
}

/** A whole number on the command line, `min` or more. */
export function wholeNumber(min: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= min) return value;
    throw new CommanderInvalidArgument(`It must be a whole number, ${min} or more.`);
  };
}
