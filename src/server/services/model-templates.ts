// Templates of the catalogue for the served models: the tokenizer and the chat template are the base model's. Knows names of
// models as Twinkle's clients write them.

import type { Kwargs } from '../../catalogue/arguments.ts'
import { createTemplate, defaultTemplate, type Template, type TemplateModel } from '../../catalogue/templates/index.ts'
import type { ChatTemplate } from '../../formats/chat-template.ts'
import type { Tokenizer } from '../../formats/tokenizer.ts'
import { serviceError } from '../errors.ts'

/** What turns text into tokens and back, by base model. Throws UNKNOWN_BASE_MODEL. */
export interface Texts {
  of(baseModel: string): { readonly tokenizer: Tokenizer; readonly template: ChatTemplate | undefined }
}

export class ModelTemplates {
  readonly #texts: Texts
  constructor(texts: Texts) {
    this.#texts = texts
  }

  /**
   * @param kwargs `model_id`, where it is there, names the same model: a tokenizer of another one would make other tokens.
   * @throws UNKNOWN_BASE_MODEL, OTHER_TEMPLATE_MODEL, and CatalogueError
   */
  create(baseModel: string, name: string, kwargs: Kwargs): Template {
    const { model_id: named } = kwargs
    if (typeof named === 'string' && bareModelName(named) !== baseModel) {
      throw serviceError('OTHER_TEMPLATE_MODEL', { template: name, named, model: baseModel })
    }
    return createTemplate(name, kwargs, this.#model(baseModel))
  }

  /** What a model gets when nobody chose. */
  standard(baseModel: string): Template {
    return defaultTemplate(this.#model(baseModel))
  }

  #model(name: string): TemplateModel {
    const { tokenizer, template } = this.#texts.of(name)
    return { name, tokenizer, chat: template }
  }
}

/** `ms://org/name` and `hf://org/name` are `org/name`. */
export function bareModelName(name: string): string {
  return name.replace(/^\w+:\/\//, '')
}
