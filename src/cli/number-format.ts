/** Numbers as people read them. Rates and sizes keep three significant digits. */

const WHOLE = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** 1,234,567 */
export function formatCount(count: number): string {
  return WHOLE.format(count);
}

/** 1 table, 2 tables */
export function formatPlural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** 999 B, 1.23 kB, 45.6 MB, 7.89 GB: powers of 1000. */
export function formatBytes(bytes: number): string {
  return bytes < 1000 ? `${Math.round(bytes)} B` : scaled(bytes, ['kB', 'MB', 'GB', 'TB']);
}

/** 950 /s, 12.3 k/s, 1.23 M/s */
export function formatRate(perSecond: number): string {
  return perSecond < 1000
    ? `${Math.round(perSecond)} /s`
    : scaled(perSecond, ['k/s', 'M/s', 'G/s']);
}

/** 12 ms, 3.4 s, 2 min 05 s, 1 h 02 min */
export function formatSeconds(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const pad = (value: number): string => String(value).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}

/** 12.3 % */
export function formatShare(share: number): string {
  return `${(share * 100).toFixed(share >= 0.9995 || share === 0 ? 0 : 1)} %`;
}

function scaled(value: number, units: readonly string[]): string {
  let rest = value / 1000;
  let unit = 0;
  // 999.95 would print as 1000: the next unit takes over before.
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit++;
  }
  const digits = rest < 9.995 ? 2 : rest < 99.95 ? 1 : 0;
  return `${rest.toFixed(digits)} ${units[unit]}`;
}
