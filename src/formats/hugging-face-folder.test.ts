import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import { openModelSource } from './model-folder.ts'
import { writeSafetensors } from './safetensors.ts'
import { temporaryFolder } from './testing/temporary-folder.ts'
import { LLAMA_CONFIG, tinyTensors, writeJson, writeTinyModel } from './testing/tiny-model.ts'

describe('a model folder', () => {
  it('gives configuration, tensors by name, and tokenizer files as they are', () => {
    const folder = writeTinyModel()
    writeJson(folder, 'generation_config.json', { eos_token_id: [2, 5] })
    fs.writeFileSync(path.join(folder, 'chat_template.jinja'), '{{ messages }}')
    const model = openModelSource(folder)
    expect(model.kind).toBe('folder')
    expect(model.config).toMatchObject({ family: 'llama', layers: 2, headDim: 8, eosTokenIds: [2, 5] })
    expect(model.names()).toEqual([...tinyTensors().keys()].sort())
    const tensor = model.tensor('model.layers.1.self_attn.k_proj.weight')
    expect(tensor.shape).toEqual([16, 32])
    expect(tensor.read()).toEqual(tinyTensors().get('model.layers.1.self_attn.k_proj.weight')?.data)
    const files = model.tokenizerFiles()
    expect(Object.keys(files).sort()).toEqual([
      'chat_template.jinja',
      'config.json',
      'generation_config.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ])
    expect(new TextDecoder().decode(files['chat_template.jinja'])).toBe('{{ messages }}')
  })

  it('reads shards through the index', () => {
    const { folder, names } = writeShardedModel()
    const model = openModelSource(folder)
    for (const name of names) expect(model.tensor(name).read()).toEqual(tinyTensors().get(name)?.data)
  })

  it('reads through symbolic links, as hub caches are made of them, and gives the real place for mapping', () => {
    const folder = writeTinyModel()
    const weights = path.join(folder, 'model.safetensors')
    const blob = path.join(temporaryFolder(), 'blob')
    fs.renameSync(weights, blob)
    fs.symlinkSync(blob, weights)
    const location = openModelSource(folder).tensor('model.norm.weight').location
    expect(location?.file).toBe(fs.realpathSync(blob))
  })

  it('has a key that moves with the weights and with the configuration', () => {
    const folder = writeTinyModel()
    const key = openModelSource(folder).contentHash()
    expect(openModelSource(folder).contentHash()).toBe(key)
    writeSafetensors(path.join(folder, 'model.safetensors'), tinyTensors())
    const rewritten = openModelSource(folder).contentHash()
    expect(rewritten).not.toBe(key)
    writeJson(folder, 'config.json', { ...LLAMA_CONFIG, rms_norm_eps: 1e-6 })
    expect(openModelSource(folder).contentHash()).not.toBe(rewritten)
  })
})

describe('what is wrong with a folder is said by name', () => {
  it.each([
    ['no folder', () => path.join(temporaryFolder(), 'nothing'), /no such model; give a Hugging Face folder/],
    ['no config.json', () => without('config.json'), /has no config.json/],
    ['no tokenizer.json', () => without('tokenizer.json'), /has no tokenizer.json; .*save_pretrained/],
    ['no weights', () => without('model.safetensors'), /has neither model.safetensors nor .*; found no weights/],
    [
      'only pickled weights',
      () => withFile('pytorch_model.bin'),
      /found pytorch_model.bin; convert with save_pretrained/,
    ],
    [
      'another kind of file',
      () => path.join(withFile('model.onnx'), 'model.onnx'),
      /supported: a Hugging Face folder, a .gguf file/,
    ],
    ['config.json torn', () => torn('config.json'), /config.json: is not valid JSON/],
    ['weights torn', () => torn('model.safetensors'), /model.safetensors: .* is the download complete/],
    [
      'a missing tensor',
      () => withoutTensor('model.norm.weight'),
      /the weights lack tensor "model.norm.weight" \[32\]/,
    ],
    [
      'a wrong shape',
      () => writeTinyModel({ ...LLAMA_CONFIG, vocab_size: 65 }, tinyTensors()),
      /"model.embed_tokens.weight" has shape \[64, 32\], but the configuration says \[65, 32\]/,
    ],
    [
      'a tensor that would be ignored',
      () => writeTinyModel({ ...LLAMA_CONFIG, num_hidden_layers: 1 }, tinyTensors()),
      /"model.layers.1.* has no place in a llama model of 1 layers/,
    ],
  ])('%s', (_, make, message) => {
    const folder = make()
    expect(() => openModelSource(folder)).toThrow(message)
  })

  it.each(['../../secret.safetensors', '/etc/passwd', 'a/b.safetensors', '..\\b.safetensors', 'model.bin', 7])(
    'an index that points to %s',
    (shard) => {
      const { folder, names } = writeShardedModel()
      writeJson(folder, 'model.safetensors.index.json', { weight_map: { [names[0] as string]: shard } })
      expect(() => openModelSource(folder)).toThrow(/index.json: tensor "model.* only plain names/)
    },
  )

  it('an index that names a tensor its shard lacks', () => {
    const { folder } = writeShardedModel()
    writeJson(folder, 'model.safetensors.index.json', { weight_map: { ghost: 'one.safetensors' } })
    expect(() => openModelSource(folder)).toThrow(/one.safetensors: lacks tensor "ghost"/)
  })

  it('a missing shard', () => {
    const { folder } = writeShardedModel()
    fs.rmSync(path.join(folder, 'two.safetensors'))
    expect(() => openModelSource(folder)).toThrow(/two.safetensors: no such file/)
  })

  it('a tensor nobody has', () => {
    expect(() => openModelSource(writeTinyModel()).tensor('lm_head.weight')).toThrow(/has no tensor "lm_head.weight"/)
  })
})

function writeShardedModel(): { folder: string; names: string[] } {
  const folder = writeTinyModel()
  fs.rmSync(path.join(folder, 'model.safetensors'))
  const tensors = [...tinyTensors()]
  writeSafetensors(path.join(folder, 'one.safetensors'), new Map(tensors.slice(0, 7)))
  writeSafetensors(path.join(folder, 'two.safetensors'), new Map(tensors.slice(7)))
  const names = tensors.map(([name]) => name)
  const weightMap = names.map((name, i) => [name, i < 7 ? 'one.safetensors' : 'two.safetensors'])
  writeJson(folder, 'model.safetensors.index.json', { weight_map: Object.fromEntries(weightMap) })
  return { folder, names }
}

function without(name: string): string {
  const folder = writeTinyModel()
  fs.rmSync(path.join(folder, name))
  return folder
}

function withFile(name: string): string {
  const folder = without('model.safetensors')
  fs.writeFileSync(path.join(folder, name), 'x')
  return folder
}

function torn(name: string): string {
  const folder = writeTinyModel()
  const file = path.join(folder, name)
  fs.truncateSync(file, fs.statSync(file).size - 9)
  return folder
}

function withoutTensor(name: string): string {
  const tensors = tinyTensors()
  tensors.delete(name)
  return writeTinyModel(LLAMA_CONFIG, tensors)
}
