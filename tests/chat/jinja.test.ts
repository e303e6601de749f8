import { describe, expect, it } from "bun:test";
import {
  type JinjaLimits,
  jinjaLimits,
  JinjaProgram,
  TemplateRefusal,
} from "../../src/chat/jinja.ts";

const run = (source: string, variables: Record<string, unknown> = {}): string =>
  new JinjaProgram(source, (text) => text).run(variables);

describe("JinjaProgram", () => {
  it("renders with trimmed blocks, as chat templates expect", () => {
    const source = "{% for x in items %}\n  {%- if x %}\n{{ x }}\n{% endif %}\n{% endfor %}\nend";
    expect(run(source, { items: ["a", "", "b"] })).toBe("a\nb\nend");
  });

  it("changes each literal of the template and no value", () => {
    const source = "text {{ 'a' + value }} {% set x = {'a': ['a']} %}{{ x['a'][0] }}";
    const program = new JinjaProgram(source, (text) => text.replaceAll("a", "A"));
    expect(program.run({ value: "a" })).toBe("text Aa A");
  });

  it("throws a refusal where the template raises", () => {
    const source = "{{ raise_exception('Roles must alternate') }}";
    expect(() => run(source)).toThrow(TemplateRefusal);
    expect(() => run(source)).toThrow("Roles must alternate");
  });

  it("throws on a source that cannot be parsed", () => {
    expect(() => run("{% if %}")).toThrow(Error);
    expect(() => run("{% for x in y %}")).toThrow(Error);
  });

  it("tells the time it is given, in English", () => {
    const program = new JinjaProgram(
      "{{ strftime_now('%A %a %d %B %b %Y %y-%m, %H:%M:%S 100%% %q') }}",
      (x) => x,
    );
    expect(program.run({}, new Date(2024, 6, 4, 9, 5, 3)))
      .toBe("Thursday Thu 04 July Jul 2024 24-07, 09:05:03 100% %q");
  });

  it("counts as Python does", () => {
    expect(run("{% for i in range(3) %}{{ i }}{% endfor %}")).toBe("012");
    expect(run("{% for i in range(5, 1, -2) %}{{ i }}{% endfor %}")).toBe("53");
    expect(run("{% for i in range(3, 1) %}{{ i }}{% endfor %}")).toBe("");
  });

  it.each([
    [
      "takes many steps",
      "{% for a in range(1000) %}{% for b in range(1000) %}{{ a }}{% endfor %}{% endfor %}",
      "it takes more than",
    ],
    ["counts far", "{{ range(1000000000) }}", "range() makes 1000000000 numbers"],
    ["counts without end", "{{ range(0, 1, 0) }}", "range() makes Infinity numbers"],
    [
      "doubles a text",
      "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
      "a text of more than 16777216 characters",
    ],
    ["calls itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "deeper than 500 levels"],
  ])("stops a template that %s", (_name, source, message) => {
    const start = performance.now();
    expect(() => run(source)).toThrow(message);
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  it("takes its limits from the caller", () => {
    const program = new JinjaProgram("{{ 'ab' ~ 'cd' }}{{ [[[[1]]]] }}", (text) => text);
    const limits = { ...jinjaLimits, timeMs: 60_000 };
    const run = (changed: Partial<JinjaLimits>) => () =>
      program.run({}, new Date(0), { ...limits, ...changed });
    expect(run({})()).toMatch(/^abcd/);
    expect(run({ steps: 3 })).toThrow("more than 3 steps");
    expect(run({ depth: 2 })).toThrow("deeper than 2 levels");
    expect(run({ textLength: 3 })).toThrow("more than 3 characters");
    const source = "{% for a in range(5000) %}{% for b in range(5000) %}{% endfor %}{% endfor %}";
    const long = new JinjaProgram(source, (text) => text);
    expect(() => long.run({}, new Date(0), { ...limits, timeMs: 100 })).toThrow("more than 100 ms");
  });

  it("counts its depth right after a loop that was left early", () => {
    const source =
      "{% for i in range(2000) %}{% for j in [1] %}{% break %}{% endfor %}{% endfor %}end";
    expect(run(source)).toBe("end");
  });

  it.each([
    "{{ ''.constructor }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.constructor.constructor('return 1')() }}",
    "{{ messages.__proto__ }}",
    "{{ raise_exception.constructor }}",
    "{{ self.__init__.__globals__ }}",
    "{{ process }}{{ globalThis }}{{ Bun }}{{ Deno }}{{ require }}",
    "{{ messages[0]['constructor'] }}",
  ])("gives a template nothing but its values: %s", (source) => {
    const outcome = (): string => {
      try {
        return run(source, { messages: [{ content: "x" }] });
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        return "";
      }
    };
    expect(outcome()).toBe("");
  });
});
