import type { WriteStream } from 'node:tty';
import type { Command } from 'commander';
import {
  LightningDb,
  type RepairLoss,
  type RepairProgress,
  type RepairReport,
} from '../../index.js';
import { CheckProgressView } from '../check-progress.js';
import { EXIT_NEGATIVE } from '../exit-codes.js';
import { formatPlural, formatSeconds } from '../number-format.js';
import { escapeField } from '../text-escape.js';
import { type CommandContext, type CommonOptions, jsonField, newCommand } from './command.js';

interface RepairCommandOptions extends CommonOptions {
  readonly dryRun: boolean;
}

/** Exit code 1 when something could not be saved. */
export function repairCommand({ output, notes, setExitCode }: CommandContext): Command {
  return newCommand(
    'repair',
    'Make a damaged database one that opens, with all that can still be read. ' +
      'What is replaced is kept in a folder "repaired-…" in its directory. ' +
      'Prints what was wrong and what is lost; exit code 1 when anything is.',
    'lightning-db repair --path ./data --dry-run',
  )
    .option('--dry-run', 'only print what would be done', false)
    .action(async ({ path, dryRun, json }: RepairCommandOptions) => {
      const startedAtMs = performance.now();
      const verb = dryRun ? 'reading' : 'repairing';
      const progress = new CheckProgressView(notes as WriteStream, { quiet: json, verb });
      const onProgress = (state: RepairProgress): void => progress.show(state);
      const repairing = LightningDb.repair(path, { dryRun, onProgress });
      const report = await repairing.finally(() => progress.end());
      const seconds = (performance.now() - startedAtMs) / 1000;
      if (report.losses.length > 0) setExitCode(EXIT_NEGATIVE);
      if (json) await output.json({ ...report, losses: report.losses.map(jsonLoss), seconds });
      else for (const line of linesOf(report, seconds)) await output.line(line);
    });
}

function jsonLoss({ from, to, ...loss }: RepairLoss): Record<string, unknown> {
  return {
    ...loss,
    ...(from === undefined ? {} : jsonField('from', from)),
    ...(to === undefined ? {} : jsonField('to', to)),
  };
}

function linesOf(report: RepairReport, seconds: number): string[] {
  const { problems, losses, originals, saved, dryRun, isHealthy } = report;
  if (isHealthy) return [`Everything is as it was written, read in ${formatSeconds(seconds)}`];
  const { tablesKept, tablesRewritten, entries, logGroups, logCommits } = saved;
  const rewritten = `${formatPlural(tablesRewritten, 'table')} rewritten with ${formatPlural(entries, 'entry', 'entries')}`;
  const log = logGroups === 0 ? '' : `, ${formatPlural(logCommits, 'commit')} of the log copied`;
  return [
    ...problems.map(
      ({ file, offset, message }) => `wrong  ${file} at offset ${offset}: ${message}`,
    ),
    ...losses.map(
      (loss) => `lost   ${loss.file} at offset ${loss.offset}: ${loss.message}${keysOf(loss)}`,
    ),
    `${dryRun ? 'To be done' : 'Done'}: ${formatPlural(tablesKept, 'table')} kept, ${rewritten}${log}, in ${formatSeconds(seconds)}`,
    ...(losses.length === 0 ? ['All that had been written is there'] : []),
    ...(originals === undefined ? [] : [`The originals are in ${originals}`]),
  ];
}

function keysOf({ from, to, isToIncluded }: RepairLoss): string {
  if (from === undefined && to === undefined) return '';
  const first = from === undefined ? 'the first' : `"${escapeField(from)}"`;
  const last = to === undefined ? 'the last' : `"${escapeField(to)}"`;
  return ` (keys from ${first} to ${last}${isToIncluded === false ? ', without that' : ''})`;
}
