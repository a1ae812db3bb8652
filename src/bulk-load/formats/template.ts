/**
 * Selectors: how an option says which part of a record becomes the key or the value.
 *
 *   2            column number, from 0
 *   name         column or field; in JSON a path: user.id, tags.0
 *   user:{id}    template: fields in braces; {{ and }} are braces
 *   *            the whole record as JSON
 */

import { InvalidArgumentError } from '../../errors.js';
import { describe, invalidOption } from '../../options.js';
import type { BulkLoadSelector } from '../options.js';

export type SelectorPiece =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'field'; readonly name: string };

export type Selector =
  | { readonly kind: 'record' }
  | { readonly kind: 'field'; readonly name: string }
  | { readonly kind: 'template'; readonly pieces: readonly SelectorPiece[] };

/** Understands an option `key` or `value`. Throws `InvalidArgumentError`. */
export function parseSelector(option: 'key' | 'value', selector: BulkLoadSelector): Selector {
  if (typeof selector === 'number') {
    if (Number.isSafeInteger(selector) && selector >= 0) {
      return { kind: 'field', name: String(selector) };
    }
    throw invalidOption(option, selector, 'a column number from 0, a name or a template');
  }
  if (typeof selector !== 'string') {
    throw invalidOption(option, selector, 'a column number, a name or a template');
  }
  if (selector === '*') return { kind: 'record' };
  if (!/[{}]/.test(selector)) return { kind: 'field', name: selector };
  const pieces = parseTemplate(option, selector);
  if (option === 'key' && !pieces.some((piece) => piece.kind === 'field')) {
    throw new InvalidArgumentError(
      `Option "key" is the template ${describe(selector)}, which is the same for every record: name a field in braces`,
      { details: { option } },
    );
  }
  return { kind: 'template', pieces };
}

/** Names of the fields that a selector refers to. */
export function selectorFields(selector: Selector): string[] {
  switch (selector.kind) {
    case 'record':
      return [];
    case 'field':
      return [selector.name];
    case 'template':
      return selector.pieces.flatMap((piece) => (piece.kind === 'field' ? [piece.name] : []));
  }
}

function parseTemplate(option: string, template: string): SelectorPiece[] {
  const pieces: SelectorPiece[] = [];
  let text = '';
  let at = 0;
  const fault = (what: string): InvalidArgumentError =>
    new InvalidArgumentError(
      `Option "${option}" is not a template: ${what} in ${describe(template)}; write {{ or }} for a brace`,
      { details: { option } },
    );
  while (at < template.length) {
    const character = template.charAt(at);
    if (character === '{' || character === '}') {
      if (template.charAt(at + 1) === character) {
        text += character;
        at += 2;
        continue;
      }
      const close = template.indexOf('}', at);
      if (character === '}') throw fault(`a "}" without "{"`);
      if (close < 0) throw fault(`a "{" without "}"`);
      const name = template.slice(at + 1, close);
      if (name === '' || name.includes('{')) throw fault(`${describe(name)} is no field name`);
      if (text !== '') pieces.push({ kind: 'literal', text });
      text = '';
      pieces.push({ kind: 'field', name });
      at = close + 1;
      continue;
    }
    text += character;
    at++;
  }
  if (text !== '') pieces.push({ kind: 'literal', text });
  return pieces;
}
