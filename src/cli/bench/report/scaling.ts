export function scalingSection(_result: unknown): string {
  return '';
}
