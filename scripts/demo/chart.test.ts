import { expect, it } from 'vitest'
import { sparkline, svgOf } from './chart.ts'

it('draws from the lowest to the highest value', () => {
  expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7])).toBe('▁▂▃▄▅▆▇█')
  expect(sparkline([5, 5])).toBe('▁▁')
})

it('makes an SVG with a panel for each curve', () => {
  const svg = svgOf([
    { title: 'loss < 1', values: [4, 2, 1] },
    { title: 'reward', values: [0.5] },
  ])
  expect(svg.match(/<polyline/g)).toHaveLength(2)
  expect(svg).toContain('loss &lt; 1')
  expect(svg).toContain('points="60.0,40.0 340.0,146.7 620.0,200.0"')
  expect(svg).not.toContain('NaN')
})
