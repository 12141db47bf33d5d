// The protocol's JSON by hand over kept connections, so that what is measured is the server and not a client library.

import { Agent, request } from 'node:http'

export interface Answer {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: JSON of the protocol
  readonly json: any
}

export class Wire {
  readonly #url: URL
  readonly #agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY })
  constructor(url: string) {
    this.#url = new URL(url)
  }

  post(path: string, body: unknown): Promise<Answer> {
    const text = JSON.stringify(body)
    const { hostname, port } = this.#url
    const headers = {
      'x-api-key': 'tml-bench',
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    }
    return new Promise((resolve, reject) => {
      const options = { hostname, port, path: `/api/v1/${path}`, method: 'POST', agent: this.#agent, headers }
      const sent = request(options, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () => {
          const answer = Buffer.concat(chunks).toString()
          resolve({ status: response.statusCode ?? 0, json: answer === '' ? null : JSON.parse(answer) })
        })
        response.on('error', reject)
      })
      sent.on('error', reject)
      sent.end(text)
    })
  }

  /** Submits, and asks until it is done. Gives the result and how often it asked. Throws what the future failed with. */
  async result(path: string, body: unknown): Promise<{ json: Answer['json']; asked: number }> {
    const { status, json } = await this.post(path, body)
    if (status !== 200) throw new Error(`${path} was answered with ${status}: ${JSON.stringify(json)}`)
    return this.retrieve(json.request_id)
  }

  async retrieve(request_id: string): Promise<{ json: Answer['json']; asked: number }> {
    for (let asked = 1; ; asked++) {
      const { status, json } = await this.post('retrieve_future', { request_id })
      if (status === 408) continue
      if (status !== 200 || json?.error) throw new Error(`a future failed with ${status}: ${JSON.stringify(json)}`)
      return { json, asked }
    }
  }

  async session(): Promise<string> {
    return (await this.post('create_session', { tags: [], user_metadata: {}, sdk_version: 'bench' })).json.session_id
  }

  /** Gives the model id. */
  async model(session_id: string, model_seq_id: number): Promise<string> {
    const body = { session_id, model_seq_id, base_model: 'twinkle/tiny', lora_config: { rank: 8 } }
    return (await this.result('create_model', body)).json.model_id
  }

  close(): void {
    this.#agent.destroy()
  }
}
