// Curves: a line of block characters for a terminal, and an SVG for everyone else. Knows numbers only.

export interface Curve {
  readonly title: string
  /** One value a step. */
  readonly values: readonly number[]
}

const BLOCKS = '▁▂▃▄▅▆▇█'

export function sparkline(values: readonly number[]): string {
  const { low, span } = rangeOf(values)
  return values.map((value) => BLOCKS[Math.round(((value - low) / span) * (BLOCKS.length - 1))]).join('')
}

const WIDTH = 640
const PLOT = { left: 60, top: 40, height: 160, width: 560 }
const PANEL_HEIGHT = PLOT.top + PLOT.height + 40

/** One panel a curve, below each other. */
export function svgOf(curves: readonly Curve[]): string {
  const height = PANEL_HEIGHT * curves.length
  const panels = curves.map((curve, index) => panel(curve, index * PANEL_HEIGHT))
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    ...panels,
    '</svg>',
    '',
  ].join('\n')
}

function panel({ title, values }: Curve, y: number): string {
  const { low, high, span } = rangeOf(values)
  const points = values.map((value, index) => {
    const x = PLOT.left + (index / Math.max(1, values.length - 1)) * PLOT.width
    return `${x.toFixed(1)},${(PLOT.top + (1 - (value - low) / span) * PLOT.height).toFixed(1)}`
  })
  const bottom = PLOT.top + PLOT.height
  const right = PLOT.left + PLOT.width
  return [
    `<g transform="translate(0 ${y})">`,
    `<text x="${PLOT.left}" y="24" font-size="15">${escaped(title)}</text>`,
    `<path d="M${PLOT.left} ${PLOT.top}V${bottom}H${right}" fill="none" stroke="#999"/>`,
    `<text x="${PLOT.left - 6}" y="${PLOT.top + 4}" text-anchor="end">${high.toFixed(2)}</text>`,
    `<text x="${PLOT.left - 6}" y="${bottom + 4}" text-anchor="end">${low.toFixed(2)}</text>`,
    `<text x="${right}" y="${bottom + 18}" text-anchor="end">step ${values.length}</text>`,
    `<polyline points="${points.join(' ')}" fill="none" stroke="#2563eb" stroke-width="2"/>`,
    '</g>',
  ].join('\n')
}

function rangeOf(values: readonly number[]): { low: number; high: number; span: number } {
  const low = Math.min(...values)
  const high = Math.max(...values)
  return { low, high, span: high > low ? high - low : 1 }
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
