// Rows of OlympiadBench: {question, context, final_answer, image_1...}; problems of mathematics and physics in Chinese or
// English. The final answers, joined by commas and without their unit, are noted under `ground_truth`.

import { textOf, textOrEmpty } from '../rows.ts'
import { type MakePreprocess, message, noImages, system } from './preprocessor.ts'

const PROMPTS = {
  zh: '请逐步推理解答数学与物理题，最终答案写在 \\boxed{} 中；有多个答案时用逗号隔开。',
  en: 'You solve problems of mathematics and physics step by step. Put the final answer inside \\boxed{}; separate several by commas.',
}

export const OlympiadBenchProcessor: MakePreprocess = (args) => {
  const given = args.textOrNull('system', null)
  const prompt = given ?? PROMPTS[args.choice('language', 'zh', ['zh', 'en'])]
  args.ignore('language')
  return (row) => {
    if (Object.keys(row).some((column) => /^image_[1-9]$/.test(column) && row[column] != null)) {
      throw noImages('OlympiadBenchProcessor')
    }
    const context = textOrEmpty(row, 'context')
    const question = textOf(row, 'question')
    return {
      messages: [...system(prompt), message('user', context ? `背景信息：${context}\n\n${question}` : question)],
      user_data: [['ground_truth', answersOf(row.final_answer)]],
    }
  }
}

function answersOf(final: unknown): string {
  const answers = Array.isArray(final) ? final : [final]
  return answers
    .filter(Boolean)
    .map((answer) => String(answer).trim())
    .join(', ')
}
