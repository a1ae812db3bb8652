import type { WriteStream } from 'node:tty';
import type { Command } from 'commander';
import { type CheckReport, CorruptionError, LightningDb } from '../../index.js';
import { CheckProgressView } from '../check-progress.js';
import { EXIT_NEGATIVE } from '../exit-codes.js';
import { formatBytes, formatPlural, formatSeconds } from '../number-format.js';
import type { Output } from '../output.js';
import {
  type CommandContext,
  type CommonOptions,
  newCommand,
  openForReading,
  withDatabase,
} from './command.js';

/** Exit code 1 when something is wrong. */
export function checkCommand({ output, notes, setExitCode }: CommandContext): Command {
  return newCommand(
    'check',
    'Read everything and verify checksums, order, filters, indexes, manifests and logs. ' +
      'Prints what is wrong and where; exit code 1 when anything is.',
    'lightning-db check --path ./data',
  ).action(async (options: CommonOptions) => {
    const startedAtMs = performance.now();
    const progress = new CheckProgressView(notes as WriteStream, { quiet: options.json });
    let report: CheckReport;
    try {
      report = await withDatabase(openForReading(options), (db) =>
        db.check({ onProgress: (state) => progress.show(state) }).finally(() => progress.end()),
      );
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      setExitCode(EXIT_NEGATIVE);
      await tellWhyItDoesNotOpen(error, options, output);
      return;
    }
    const seconds = (performance.now() - startedAtMs) / 1000;
    if (report.problems.length > 0) setExitCode(EXIT_NEGATIVE);
    if (options.json) {
      await output.json({
        path: options.path,
        ok: report.problems.length === 0,
        seconds,
        ...report,
      });
      return;
    }
    for (const { file, offset, message } of report.problems) {
      await output.line(`${file} at offset ${offset}: ${message}`);
    }
    const { tables, blocks, entries, bytes } = report;
    const verdict =
      report.problems.length === 0
        ? 'Everything is as it was written'
        : formatPlural(report.problems.length, 'problem');
    await output.line(
      `${verdict}: ${formatPlural(entries, 'entry', 'entries')} in ` +
        `${formatPlural(blocks, 'block')} of ${formatPlural(tables, 'table')}, ` +
        `${formatBytes(bytes)}, read in ${formatSeconds(seconds)}`,
    );
  });
}

/** What keeps the database from being opened, and all else that a repair would find. */
async function tellWhyItDoesNotOpen(
  error: CorruptionError,
  { path, json }: CommonOptions,
  output: Output,
): Promise<void> {
  const { problems } = await LightningDb.repair(path, { dryRun: true });
  const { message, details } = error;
  const known = { file: String(details['file']), offset: Number(details['offset'] ?? 0), message };
  const all = problems.length > 0 ? problems : [known];
  if (json) {
    await output.json({ path, ok: false, opens: false, problems: all });
    return;
  }
  for (const problem of all) {
    await output.line(`${problem.file} at offset ${problem.offset}: ${problem.message}`);
  }
  await output.line(
    `${formatPlural(all.length, 'problem')}; the database cannot be opened: see lightning-db repair --dry-run`,
  );
}
