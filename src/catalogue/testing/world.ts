// The surroundings of objects in tests: one model, files in memory, and the calls that tests make of an object.

import type { Kwargs } from '../arguments.ts'
import { type CatalogueObject, callObject, type World } from '../object.ts'
import { createObject } from '../objects.ts'
import { type Pace, UNBOUND } from '../pace.ts'
import type { Row } from '../rows.ts'
import { createTemplate } from '../templates/index.ts'
import { TINY } from './tiny.ts'

export class TestWorld implements World {
  /** By dataset_id. */
  files: Record<string, Row[]> = {}
  readonly saved: Record<string, string> = {}
  readonly #objects = new Map<string, CatalogueObject>()

  template(name: string, kwargs: Kwargs) {
    return createTemplate(name, kwargs, TINY)
  }

  async rows({ id }: { id: string }): Promise<Row[]> {
    const rows = this.files[id]
    if (!rows) throw new Error(`no file ${id}`)
    return rows
  }

  async save(path: string, lines: AsyncIterable<string>): Promise<void> {
    let text = ''
    for await (const line of lines) text += line
    this.saved[path] = text
  }

  /** Gives an id. */
  async make(type: string, className: string, kwargs: Kwargs = {}, pace: Pace = UNBOUND): Promise<string> {
    const object = (id: string) => this.#get(id)
    const id = `pid:${this.#objects.size}`
    this.#objects.set(id, await createObject(type, { className, kwargs, world: this, object, pace }))
    return id
  }

  // biome-ignore lint/suspicious/noExplicitAny: results are JSON, held against what tests expect
  call(id: string, name: string, kwargs: Kwargs = {}, pace: Pace = UNBOUND): Promise<any> {
    return callObject(this.#get(id), name, kwargs, pace)
  }

  position(id: string): unknown {
    return JSON.parse(JSON.stringify(this.#get(id).iteration?.position()))
  }

  restore(id: string, position: unknown): void {
    this.#get(id).iteration?.restore(position)
  }

  #get(id: string): CatalogueObject {
    const object = this.#objects.get(id)
    if (!object) throw new Error(`no object ${id}`)
    return object
  }
}
