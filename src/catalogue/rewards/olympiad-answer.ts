// Answers to OlympiadBench in one spelling, so that they can be compared: LaTeX, full-width signs, units and blanks are
// written away, fractions are (a)/(b). Knows no score.

const DIGITS_AND_LETTERS = /[０-９Ａ-Ｚａ-ｚ]/g
const FULL_WIDTH_OFFSET = 0xfee0
const PUNCTUATION: Readonly<Record<string, string>> = {
  '，': ',',
  '。': '.',
  '（': '(',
  '）': ')',
  '：': ':',
  '；': ';',
}

/** What is replaced, one after the other. */
const SPELLINGS: readonly (readonly [RegExp, string])[] = [
  [/\$/g, ''],
  [/\\(?:left|right)(?![A-Za-z])\s*/g, ''],
  [/\\(?:leqslant|geqslant|leq|geq|neq|le|ge)(?![A-Za-z])\s*/g, ''],
  [/\\(?:qquad|quad|[,;!])\s*/g, ''],
  [/\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}/g, '($1)/($2)'],
  [/\\sqrt\{([^{}]*)\}/g, 'sqrt($1)'],
  [/\\(?:text|mathrm|mathbf|mathit)\{([^{}]*)\}/g, '$1'],
  [/\\/g, ''],
  [/\+infty/g, 'infty'],
  [/([_^])\{([^{}]*)\}/g, '$1$2'],
  // Units: those of several letters wherever they stand alone, the others behind a number or a bracket only.
  [/\b(?:cm|mm|km|nm|um|kg|mg|Hz|kHz|MHz|GHz|mol|Pa|kPa|MPa|eV|keV|MeV|GeV|cal|kcal|cd|lm|lx|Wb|Bq|Gy|Sv)\b/g, ''],
  [/(?<=[0-9\])])\s*(?:m\/s2|m\/s|km\/h|kg\/m3|N\/m|J\/mol|rad|sr)\b/g, ''],
  [/(?<=[0-9\])])\s*[NVWAKCTFHLJmgs]\b/g, ''],
  [/°|度|米|千克|克|秒|摩尔|帕|瓦|伏|安|赫兹|牛|焦/g, ''],
  [/(\d+):(\d+)/g, '$1/$2'],
  [/(?<![(/\d])(\d+)\/(\d+)(?![)/\d])/g, '($1)/($2)'],
  [/\s+/g, ''],
  [/,+/g, ','],
  [/^[,.]+|[,.]+$/g, ''],
]

/** An answer that is longer stands as it is: patterns take the square of its length. */
const MOST_CHARACTERS = 1000

export function normalAnswer(answer: string): string {
  if (answer.length > MOST_CHARACTERS) return answer
  const halfWidth = answer
    .replace(DIGITS_AND_LETTERS, (sign) => String.fromCharCode(sign.charCodeAt(0) - FULL_WIDTH_OFFSET))
    .replace(/[，。（）：；]/g, (sign) => PUNCTUATION[sign] as string)
  return SPELLINGS.reduce((text, [pattern, spelling]) => text.replace(pattern, spelling), halfWidth)
}

/** Several answers, separated by commas that stand in no bracket. */
export function separateAnswers(answers: string): string[] {
  const parts = ['']
  let depth = 0
  for (const sign of answers) {
    if ('([{'.includes(sign)) depth++
    else if (')]}'.includes(sign)) depth--
    if (sign === ',' && depth === 0) parts.push('')
    else parts[parts.length - 1] += sign
  }
  return parts.map((part) => part.trim()).filter(Boolean)
}
