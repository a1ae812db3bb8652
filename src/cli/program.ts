/** The command line as a whole: commands, help, and what every error becomes. */

import { Command, CommanderError } from 'commander';
import { LightningError, VERSION } from '../index.js';
import { benchCommand } from './commands/bench.js';
import { checkCommand } from './commands/check.js';
import type { CommandContext } from './commands/command.js';
import { compactCommand } from './commands/compact.js';
import { countCommand } from './commands/count.js';
import { deleteCommand } from './commands/delete.js';
import { getCommand } from './commands/get.js';
import { loadCommand } from './commands/load.js';
import { putCommand } from './commands/put.js';
import { repairCommand } from './commands/repair.js';
import { scanCommand } from './commands/scan.js';
import { statsCommand } from './commands/stats.js';
import { EXIT_CODE_TEXT, EXIT_OK, EXIT_USAGE, exitCodeOf } from './exit-codes.js';
import { Output, toJson } from './output.js';

export interface Streams {
  readonly input: NodeJS.ReadStream;
  readonly output: NodeJS.WriteStream;
  readonly notes: NodeJS.WriteStream;
}

/** Runs one command line and returns its exit code. Never throws. */
export async function runCommandLine(args: readonly string[], streams: Streams): Promise<number> {
  const output = new Output(streams.output);
  // Known before the command line is read: that may be what fails.
  const json = args.includes('--json');
  let exitCode = EXIT_OK;
  const context: CommandContext = {
    output,
    input: streams.input,
    notes: streams.notes,
    setExitCode: (code) => {
      exitCode = code;
    },
  };
  try {
    await newProgram(context, streams, json).parseAsync([...args], { from: 'user' });
    await output.flush();
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError && (error.exitCode === 0 || !json)) {
      return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    }
    const { code, message } = describeError(error);
    streams.notes.write(
      json ? `${toJson({ error: { code, message } })}\n` : `${errorLine(code, message)}\n`,
    );
    return exitCode === EXIT_OK ? exitCodeOf(code) : exitCode;
  }
}

function newProgram(context: CommandContext, { output, notes }: Streams, json: boolean): Command {
  const program = new Command('lightning-db')
    .description('Look into, load and check Lightning DB databases.')
    .version(VERSION, '-V, --version')
    .addHelpText('after', `\nExit codes:\n${exitCodeTable()}`)
    .showSuggestionAfterError()
    .showHelpAfterError('(add --help for all options)');
  const commands = [
    loadCommand,
    getCommand,
    putCommand,
    deleteCommand,
    scanCommand,
    countCommand,
    statsCommand,
    compactCommand,
    checkCommand,
    repairCommand,
    benchCommand,
  ];
  for (const create of commands) program.addCommand(create(context));
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      writeOut: (text) => output.write(text),
      writeErr: (text) => {
        if (!json) notes.write(text);
      },
    });
  }
  return program;
}

function exitCodeTable(): string {
  return EXIT_CODE_TEXT.map(([code, meaning]) => `${String(code).padStart(5)}  ${meaning}`).join(
    '\n',
  );
}

function describeError(error: unknown): { readonly code: string; readonly message: string } {
  if (error instanceof LightningError) {
    // The library's advice, after the colon, is for programs; the command line has its own.
    const [noDatabase] = /^There is no database at "[^"]*"/.exec(error.message) ?? [];
    return { code: error.code, message: noDatabase ?? error.message };
  }
  if (error instanceof CommanderError) {
    return { code: 'LIGHTNING_INVALID_ARGUMENT', message: error.message.replace(/^error: /, '') };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'INTERNAL', message };
}

const HINTS: Readonly<Record<string, string>> = {
  LIGHTNING_LOCKED: 'close the program that uses it, or ask it instead',
  LIGHTNING_NOT_FOUND: 'check --path, or create a database with load or put --create',
  LIGHTNING_NOT_A_DATABASE: 'check --path',
  LIGHTNING_CORRUPTION: 'run check to see all that is wrong; restore a backup, or run repair',
  LIGHTNING_NO_SPACE: 'free some space and try again',
  LIGHTNING_ABORTED: 'the database is as it was before',
};

/** One line: what happened, what to do, and the code to look for. */
function errorLine(code: string, message: string): string {
  const hint = HINTS[code];
  return `lightning-db: ${message}${hint === undefined ? '' : ` (${hint})`} [${code}]`;
}
