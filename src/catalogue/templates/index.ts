// The templates by name. They differ in which models they are for: what a template writes is the model's own file's.

import { Arguments, type Kwargs } from '../arguments.ts'
import { CatalogueError, unknownName } from '../catalogue-error.ts'
import { Template, type TemplateModel, templateOptions } from './template.ts'

export { Template, type TemplateModel } from './template.ts'

/** Which models a template fits: a word that their chat template must have; null: all. */
const TEMPLATES: Readonly<Record<string, string | null>> = {
  Template: null,
  // Qwen's hybrid thinking: thoughts of earlier turns are left out, and the generation prompt says whether to think.
  Qwen3_5Template: 'enable_thinking',
  // Others encode DeepSeek-V4's chats with a program; it is served only where the model says all in a chat template.
  DeepseekV4Template: '｜Assistant｜',
}

export const TEMPLATE_NAMES = Object.keys(TEMPLATES)

/** Throws CatalogueError: UNKNOWN_NAME, UNSUPPORTED_NAME for a model that it does not fit, and those of arguments. */
export function createTemplate(name: string, kwargs: Kwargs, model: TemplateModel): Template {
  if (!Object.hasOwn(TEMPLATES, name)) throw unknownName('template', name, TEMPLATE_NAMES)
  const word = TEMPLATES[name] ?? null
  if (word !== null && !model.chat?.mentions(word)) {
    const reason = model.chat ? `has no ${word} in its chat template` : 'has no chat template'
    throw new CatalogueError(
      'UNSUPPORTED_NAME',
      `The template ${name} does not fit ${model.name}, which ${reason}.`,
      'Use Template.',
    )
  }
  return new Template(model, templateOptions(new Arguments('template', name, kwargs)))
}

/** What a model gets when nobody chose. */
export function defaultTemplate(model: TemplateModel): Template {
  return createTemplate(
    /Qwen3\.[568]/.test(model.name) && model.chat?.mentions('enable_thinking') ? 'Qwen3_5Template' : 'Template',
    {},
    model,
  )
}
