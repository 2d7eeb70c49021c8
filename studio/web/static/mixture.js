// The arithmetic of a mix: how often each source is seen when rows are drawn by shares until a strategy ends.

/** Shares with a sum of 1; equal ones where nothing is asked for. */
export function normalised(weights) {
  const sum = weights.reduce((all, each) => all + Math.max(each, 0), 0);
  return weights.map((each) => (sum > 0 ? Math.max(each, 0) / sum : 1 / weights.length));
}

/** Shares of sources of these sizes at a temperature: 1 as large as they are, infinity all the same. */
export const tempered = (sizes, temperature) => normalised(sizes.map((size) => (size > 0 ? size ** (1 / temperature) : 0)));

/** Shares as a command says them: so many digits, and a sum of exactly 1. */
export function rounded(shares, digits = 4) {
  const unit = 10 ** digits;
  const parts = shares.map((share) => Math.floor(share * unit + 1e-9));
  const order = shares.map((share, at) => [share * unit - parts[at], at]).sort((a, b) => b[0] - a[0]);
  let rest = unit - parts.reduce((all, each) => all + each, 0);
  for (const [, at] of order) { if (rest <= 0) break; parts[at] += 1; rest -= 1; }
  return parts.map((each) => each / unit);
}

/**
 * What one pass over sources sees. rows: rows of each, null for unknown; shares: those of sampling, null for turns.
 * Returns {rows, shares, epochs}: the rows of the pass, the share of each source in it, how often each is seen whole.
 */
export function pass_of(rows, shares, strategy) {
  const known = rows.every((each) => each > 0);
  const all = rows.reduce((sum, each) => sum + (each || 0), 0);
  if (strategy === "concat" || strategy === "interleave_once") {
    return { rows: known ? all : null, shares: rows.map((each) => (known ? each / all : null)), epochs: rows.map(() => 1) };
  }
  const drawn = normalised(shares ?? rows.map(() => 1));
  if (!known) return { rows: null, shares: drawn, epochs: rows.map(() => null) };
  const needs = rows.map((each, at) => (drawn[at] > 0 ? each / drawn[at] : null)).filter((each) => each !== null);
  const length = strategy === "interleave_over" ? Math.max(...needs) : Math.min(...needs);
  return { rows: Math.round(length), shares: drawn, epochs: rows.map((each, at) => (length * drawn[at]) / each) };
}
