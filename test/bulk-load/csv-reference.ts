/** A slow, plain parser of separated values on strings: what the fast one is compared with. */

export type CsvRow =
  | { readonly fields: readonly CsvField[]; readonly fault?: undefined }
  | { readonly fault: string; readonly start: number };

export interface CsvField {
  readonly text: string;
  readonly quoted: boolean;
}

export function parseCsv(text: string, delimiter = ',', quotes = true): CsvRow[] {
  const rows: CsvRow[] = [];
  let at = 0;
  const newlineAfter = (index: number): number => {
    const newline = text.indexOf('\n', index);
    return newline < 0 ? text.length : newline + 1;
  };
  while (at < text.length) {
    if (text[at] === '\n') {
      at++;
      continue;
    }
    if (text.startsWith('\r\n', at)) {
      at += 2;
      continue;
    }
    const start = at;
    const fields: CsvField[] = [];
    let fault: string | undefined;
    for (;;) {
      if (quotes && text[at] === '"') {
        let field = '';
        let closed = false;
        at++;
        while (at < text.length) {
          if (text[at] === '"') {
            if (text[at + 1] !== '"') {
              closed = true;
              break;
            }
            at++;
          }
          field += text[at++];
        }
        if (!closed) {
          fault = 'unterminated';
          at = newlineAfter(start);
          break;
        }
        at++;
        if (text[at] === '\r' && (at + 1 === text.length || text[at + 1] === '\n')) at++;
        if (at < text.length && text[at] !== delimiter && text[at] !== '\n') {
          fault = 'after quote';
          at = newlineAfter(at);
          break;
        }
        fields.push({ text: field, quoted: true });
      } else {
        let field = '';
        while (at < text.length && text[at] !== delimiter && text[at] !== '\n') {
          if (quotes && text[at] === '"') {
            fault = 'quote in field';
            break;
          }
          field += text[at++];
        }
        if (fault !== undefined) {
          at = newlineAfter(at);
          break;
        }
        if (at >= text.length || text[at] === '\n') field = field.replace(/\r$/, '');
        fields.push({ text: field, quoted: false });
      }
      if (at >= text.length) break;
      if (text[at++] === '\n') break;
    }
    rows.push(fault === undefined ? { fields } : { fault, start });
  }
  return rows;
}
