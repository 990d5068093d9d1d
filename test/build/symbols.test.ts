/**
 * What the linker may see of the compiled kernels. If an ISA's object held a weak symbol (an inline function of the standard library,
 * say), the linker could keep that copy for everybody, and an older CPU would meet AVX-512 where scalar code was written.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { native } from '../../src/native.js'

const root = join(import.meta.dirname, '../..')
const objectsFolder = join(root, 'build-cmake/release/CMakeFiles')
const addon = join(root, 'build/Release/infernode.node')
const isas = readdirSync(join(root, 'native/cpu/isa'), { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name)

interface Symbol { type: string; name: string }

function symbols(file: string, ...options: string[]): Symbol[] {
  const { stdout, status, stderr } = spawnSync('nm', ['-C', ...options, file], { encoding: 'utf8', maxBuffer: 1 << 28 })
  expect(status, stderr).toBe(0)
  return stdout.split('\n').flatMap((line) => {
    const [, type, name] = /^[0-9a-f ]{16} (\S) (.*)$/.exec(line) ?? []
    return type && name ? [{ type, name }] : []
  })
}

const objectsOf = (isa: string): string[] =>
  existsSync(join(objectsFolder, `isa_${isa}.dir`))
    ? readdirSync(join(objectsFolder, `isa_${isa}.dir`), { recursive: true, encoding: 'utf8' })
        .filter((name) => /\.o(bj)?$/.test(name))
        .map((name) => join(objectsFolder, `isa_${isa}.dir`, name))
    : []

/** A value that a variant's isa.cmake sets, in words. */
const setting = (isa: string, name: string): string[] =>
  new RegExp(`set\\(${name} "?([^")]*)"?\\)`).exec(readFileSync(join(root, 'native/cpu/isa', isa, 'isa.cmake'), 'utf8'))?.[1]!.split(' ') ?? []

/** Those of the architecture that this tree is built for. */
const built = isas.filter((isa) => objectsOf(isa).length > 0)
const builtHere = built.length > 0
if (!builtHere) console.warn('SKIPPED: symbols of the kernels. They are not compiled here (npm run build:native).')

describe.skipIf(!builtHere)('the objects of an ISA variant', () => {
  it('are there for every variant that this machine can run', () => {
    expect(built).toEqual(expect.arrayContaining([...native().info().isas]))
  })

  for (const isa of built) {
    it(`${isa} defines nothing outside its own namespace, and nothing weak`, () => {
      const objects = objectsOf(isa)
      expect(objects.map((path) => basename(path))).toContain('table.cc.o')
      for (const object of objects) {
        const defined = symbols(object, '--defined-only')
        const weak = defined.filter(({ type }) => /[WwVvu]/.test(type))
        const foreign = defined.filter(({ type, name }) => /[A-TX-Z]/.test(type) && !name.includes(`infernode::cpu::${isa}::`))
        expect({ object: basename(object), weak, foreign }).toEqual({ object: basename(object), weak: [], foreign: [] })
      }
    })

    it(`${isa} takes nothing from elsewhere but plain memory functions and what its base has`, () => {
      const [base] = setting(isa, 'ISA_BASE')
      if (base) expect(setting(isa, 'ISA_NEEDS')).toEqual(expect.arrayContaining(setting(base, 'ISA_NEEDS')))
      const homes = [isa, ...(base ? [base] : [])].map((name) => `infernode::cpu::${name}::`)
      for (const object of objectsOf(isa)) {
        const needed = symbols(object, '--undefined-only').map(({ name }) => name)
        const foreign = needed.filter(
          (name) => !homes.some((home) => name.includes(home)) && !/^(mem(cpy|set|move|cmp)|_GLOBAL_OFFSET_TABLE_|__stack_chk_fail)$/.test(name),
        )
        expect({ object: basename(object), foreign }).toEqual({ object: basename(object), foreign: [] })
      }
    })
  }
})

describe.skipIf(!builtHere || process.platform !== 'linux')('infernode.node', () => {
  it('shows Node its entry points and nobody anything else', () => {
    const shown = symbols(addon, '-D', '--defined-only').map(({ name }) => name)
    expect(shown.filter((name) => !/^(napi_register_module_v\d+|node_api_module_get_api_version_v\d+)$/.test(name))).toEqual([])
  })

  it('brings its own C++ runtime along', () => {
    const { stdout } = spawnSync('readelf', ['-d', addon], { encoding: 'utf8' })
    const libraries = [...stdout.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name!)
    expect(libraries.filter((name) => !/^(libc|libm|libpthread|libdl|ld-linux.*)\.so/.test(name))).toEqual([])
  })
})
