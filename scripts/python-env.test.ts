import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const SCRIPT = fileURLToPath(new URL('python-env.mjs', import.meta.url))

interface Said {
  readonly code: number | string | null
  readonly out: string
  readonly err: string
}

function run(args: readonly string[], env: Record<string, string> = {}): Promise<Said> {
  return new Promise((resolve) => {
    execFile(process.execPath, [SCRIPT, ...args], { env: { ...process.env, ...env } }, (error, out, err) =>
      resolve({ code: error?.code ?? 0, out: out.trim(), err: err.trim() }),
    )
  })
}

describe('python-env', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'python-env-'))
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  async function fake(name: string, script: string): Promise<string> {
    const path = join(folder, name)
    await writeFile(path, `#!/bin/sh\n${script}\n`)
    await chmod(path, 0o755)
    return path
  }

  it('passes over names on the PATH that only fail when they are run', async () => {
    await fake('python3.13', 'exit 127')
    await fake('python3.12', 'echo "3 10 /usr/bin/python3.10"')
    const good = await fake('python3.11', 'echo "3 11 /opt/a python/bin/python"')
    expect(await run(['--find'], { PATH: folder })).toMatchObject({ code: 0, out: '/opt/a python/bin/python' })
    await rm(good)
    const { code, err } = await run(['--find'], { PATH: folder, HOME: folder, PYENV_ROOT: folder })
    expect([code, err]).toEqual([3, expect.stringContaining('Python >= 3.11')])
  })

  it('looks among the versions of a version manager too, newest first', async () => {
    for (const version of ['3.9.18', '3.13.0', '3.12.1']) {
      await mkdir(join(folder, 'versions', version, 'bin'), { recursive: true })
      const [major, minor] = version.split('.')
      await fake(join('versions', version, 'bin', 'python'), `echo "${major} ${minor} managed-${version}"`)
    }
    expect(await run(['--find'], { PATH: join(folder, 'nothing'), PYENV_ROOT: folder })).toMatchObject({
      out: 'managed-3.13.0',
    })
  })

  it('says what to do when the named Python does not run', async () => {
    const { code, err } = await run(['sdk-0.38.0'], { TWINKLE_PYTHON: await fake('broken', 'exit 1') })
    expect([code, err]).toEqual([3, expect.stringContaining('TWINKLE_PYTHON=')])
  })

  it('lists the sets there are', async () => {
    const { code, err } = await run(['sdk-9'], {})
    expect([code, err]).toEqual([1, expect.stringContaining('sdk-0.36.0, sdk-0.38.0, sdk-0.38.0-torch')])
  })

  it('leaves nothing half made behind, neither its own nor that of a killed process', async () => {
    await mkdir(join(folder, '.making-999999999-x'))
    const script = 'if [ "$1" = "-c" ]; then echo "3 11 $0"; else exit 1; fi'
    const { code } = await run(['sdk-0.38.0'], {
      TWINKLE_PYTHON: await fake('noinstall', script),
      TWINKLE_VENVS: folder,
    })
    expect(code).toBe(1)
    expect(await readdir(folder)).toEqual(['noinstall'])
  })
})
