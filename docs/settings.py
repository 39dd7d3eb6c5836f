#!/usr/bin/env python3
"""Writes docs/settings.md from the documentation and the defaults of the settings' types; `--check` only compares.

What is not understood ends the program with its place, so that nothing is left out or made up.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "settings.md"
SOURCES = ["src/config/*.rs", "src/retrain/spec/*.rs", "src/decode/format.rs", "src/decode/mod.rs", "src/schema/mod.rs",
           "src/schema/declared.rs", "src/baseline/season.rs", "src/stats/correction.rs", "src/drift/*.rs", "src/model.rs",
           "src/privacy/*.rs", "src/retrain/pipeline/calendar.rs", "src/retrain/pipeline/step.rs", "src/profile/mod.rs", "src/profile/segments.rs"]
SIMPLE = {
    "bool": "`true` or `false`", "String": "text", "PathBuf": "path", "SocketAddr": "address with port", "Span": "span of time",
    "ByteSize": "size", "Share": "share in (0, 1]", "f64": "number", "f32": "number", "FalseAlarms": "`N per TIME`", "Limit": "`N per TIME`",
    "ModelName": "name", "SourceName": "name", "BrokerUrl": "URL", "Pointer": "JSON pointer", "NameList": "list of texts",
    "Columns": "`auto`, or a JSON pointer for each column", "Node": "see [rules/README.md](../rules/README.md)",
    "NonZeroUsize": "number", "Protocol": "a word", "Name": "text", "Duration": "span of time", "MaskRule": "", "SocketPath": "path",
}
SIMPLE.update({kind: "whole number" for kind in ["u8", "u16", "u32", "u64", "usize", "i32", "i64", "NonZeroU32", "NonZeroU64"]})
# Types that are read by hand: what may be written, and the type whose keys it has.
BY_HAND = {
    "Relays": ("one relay, or a list of up to four", "Smtp"),
    "Canary": ("`off`, or `{every: 1h}`", None),
    "Mask": ("`email`, `phone`, `card`, or `{name: …, pattern: …, columns: […]}`", None),
}
# Chapters in the order in which they are printed; others follow where they are first used.
ORDER = ["Settings"]


class Unclear(Exception):
    """Something that the program does not understand."""


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def body(text, start):
    """The text between the bracket at or after `start` and its partner."""
    opening = text.index("{", start)
    depth = 0
    for at in range(opening, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[opening + 1:at]
    raise Unclear("a bracket is not closed")


def members(text):
    """Attributes, documentation and the rest of each member of a struct or enum body, split at commas outside brackets."""
    found, depth, docs, attributes, current = [], 0, [], [], ""
    if "\n" not in text.strip():
        text = one_per_line(text)
    for line in text.splitlines():
        stripped = line.strip()
        if depth == 0 and not current:
            if stripped.startswith("///"):
                docs.append(stripped[3:].strip())
                continue
            if stripped.startswith("#["):
                attributes.append(stripped)
                continue
            if not stripped or stripped.startswith("//"):
                continue
        current += " " + stripped
        counted = re.sub(r"<<|->|=>", "", stripped)
        depth += sum(counted.count(mark) for mark in "({[<") - sum(counted.count(mark) for mark in ")}]>")
        if depth == 0 and current.rstrip().endswith(","):
            found.append((" ".join(docs), " ".join(attributes), current.strip().rstrip(",")))
            docs, attributes, current = [], [], ""
    if current.strip():
        found.append((" ".join(docs), " ".join(attributes), current.strip()))
    return found


def one_per_line(text):
    """A body that is written in one line, cut at the commas outside brackets."""
    depth, cut = 0, ""
    for mark in text:
        depth += (mark in "({[") - (mark in ")}]")
        cut += ",\n" if mark == "," and depth == 0 else mark
    return cut


class Types:
    def __init__(self):
        self.structs, self.enums, self.defaults, self.functions, self.constants = {}, {}, {}, {}, {}
        for pattern in SOURCES:
            paths = sorted(ROOT.glob(pattern))
            if not paths:
                raise Unclear(f"{pattern} matches no file")
            for path in paths:
                if not path.stem.endswith("tests"):
                    self.read(path.read_text().split("#[cfg(test)]\nmod tests {")[0])

    def read(self, text):
        head = r"((?:^[ \t]*///[^\n]*\n|^[ \t]*#\[[^\n]*\n)*)^[ \t]*(?:pub(?:\([^)]*\))? )?(struct|enum) (\w+)(?:<[^>]*>)? \{"
        for match in re.finditer(head, text, re.M):
            lead, kind, name = match.groups()
            docs = " ".join(line.strip()[3:].strip() for line in lead.splitlines() if line.strip().startswith("///"))
            attributes = " ".join(line.strip() for line in lead.splitlines() if line.strip().startswith("#["))
            entry = (docs, attributes, members(body(text, match.end() - 1)))
            (self.structs if kind == "struct" else self.enums).setdefault(name, entry)
        for match in re.finditer(r"impl Default for (\w+) \{", text):
            inner = body(text, match.end() - 1)
            function = body(inner, inner.index("fn default"))
            if (literal := re.search(r"Self \{", function)) is not None:
                fields = {}
                for _, _, member in members(body(function, literal.start())):
                    key, _, value = member.partition(":")
                    fields[key.strip()] = value.strip() or key.strip()
                self.defaults[match.group(1)] = fields
            elif (variant := re.search(r"Self::(\w+)", function)) is not None:
                self.defaults[match.group(1)] = variant.group(0)
        for match in re.finditer(r"^\s*(?:pub(?:\([^)]*\))? )?fn (\w+)\(\) -> [^{]+\{", text, re.M):
            self.functions.setdefault(match.group(1), body(text, match.end() - 1).strip())
        for match in re.finditer(r"const (\w+): \w+ = ([^;]+);", text):
            self.constants.setdefault(match.group(1), match.group(2))

    def words(self, name):
        """What an enum may be written as; None for one that holds values."""
        docs, attributes, variants = self.enums[name]
        renamed = "rename_all" in attributes
        words = []
        for said, marks, variant in variants:
            if re.search(r"[({]", variant):
                return None
            explicit = re.search(r'rename = "([^"]+)"', marks)
            words.append((explicit.group(1) if explicit else snake(variant) if renamed else variant, said))
        return words

    def value(self, expression, kind, place):
        """A default as people would write it."""
        text = expression.strip()
        inner = re.fullmatch(r"Option<(.+)>", kind)
        if text == "None":
            return ""
        if (match := re.fullmatch(r"Some\((.+)\)", text)) is not None:
            return self.value(match.group(1), inner.group(1) if inner else kind, place)
        if text in ("true", "false"):
            return f"`{text}`"
        if (match := re.fullmatch(r'"([^"]*)"\.(?:to_owned|into|to_string)\(\)|(?:PathBuf|String)::from\("([^"]*)"\)', text)) is not None:
            return f"`{match.group(1) or match.group(2) or ''}`"
        if (match := re.fullmatch(r"days\((\d+)\)", text)) is not None:
            return f"`{match.group(1)}d`"
        if (match := re.fullmatch(r"(?:Span\()?Duration::from_(millis|secs|mins|hours)\(([\d_* ]+)\)\)?", text)) is not None:
            return f"`{span(number(match.group(2)) * {'millis': 1, 'secs': 1000, 'mins': 60_000, 'hours': 3_600_000}[match.group(1)])}`"
        if (match := re.fullmatch(r"ByteSize\(([\d_<* ]+)\)", text)) is not None:
            return f"`{size(number(match.group(1)))}`"
        if re.fullmatch(r"-?[\d_]+(\.\d+)?(e-?\d+)?|[\d_]+ << \d+", text):
            return f"`{number(text) if '<<' in text else text.replace('_', '')}`"
        if (match := re.fullmatch(r"SocketAddr::from\(\(\[([\d, ]+)\], (\d+)\)\)", text)) is not None:
            return f"`{match.group(1).replace(', ', '.')}:{match.group(2)}`"
        if text == "Share::ALL":
            return "`1.0`"
        if re.fullmatch(r"(Vec|BTreeMap|HashMap|String|NameList)::new\(\)|vec!\[\]", text):
            return ""
        if (match := re.fullmatch(r"vec!\[(.+)\]", text)) is not None:
            return f"`[{match.group(1)}]`"
        if text in self.constants:
            return self.value(self.constants[text], kind, place)
        if (match := re.fullmatch(r"(\w+)::default\(\)", text)) is not None:
            return self.standard(match.group(1), place)
        if (match := re.fullmatch(r"(?:Self|\w+)::(\w+)", text)) is not None:
            return f"`{snake(match.group(1))}`"
        if (match := re.fullmatch(r"(Self|\w+) \{.*count: ([\d.]+),.*period: Duration::from_hours\(([\d* ]+)\).*\}", text)) is not None:
            return f"`{match.group(2).removesuffix('.0')} per {span(number(match.group(3)) * 3_600_000)}`"
        raise Unclear(f"{place}: the default `{text}` of type `{kind}`")

    def standard(self, kind, place):
        """The default of a type."""
        if kind == "bool":
            return "`false`"
        if kind in ("f64",) or SIMPLE.get(kind) == "whole number":
            return "`0`"
        if kind == "FalseAlarms":
            return "`1 per 30d`"
        if kind == "Limit":
            return "`300 per 1h`"
        if kind == "Canary":
            return "`{every: 1h}`"
        if kind in self.enums:
            if isinstance(chosen := self.defaults.get(kind), str):
                return self.value(chosen, kind, place)
            words = self.words(kind) or []
            for (said, marks, variant), (word, _) in zip(self.enums[kind][2], words):
                if "#[default]" in marks:
                    return f"`{word}`"
        return ""

    def kind(self, kind, used):
        """A type in words; structs and long enums that are met on the way are added to `used`."""
        kind = kind.strip()
        kind = re.sub(r"^(?:\w+::)+", "", kind)
        if (match := re.fullmatch(r"(Option|Box)<(.+)>", kind)) is not None:
            return self.kind(match.group(2), used)
        if (match := re.fullmatch(r"Vec<(.+)>", kind)) is not None:
            return f"list: {self.kind(match.group(1), used)}"
        if (match := re.fullmatch(r"(?:BTreeMap|HashMap)<\w+, (.+)>", kind)) is not None:
            return f"by name: {self.kind(match.group(1), used)}"
        if kind in BY_HAND:
            words, of = BY_HAND[kind]
            return f"{words}: {self.kind(of, used)}" if of else words
        if kind in SIMPLE:
            return SIMPLE[kind]
        if kind in self.enums and (words := self.words(kind)) is not None:
            return ", ".join(f"`{word}`" for word, _ in words)
        if kind in self.structs or kind in self.enums:
            if kind not in used:
                used.append(kind)
            return f"[{title(kind)}](#{anchor(kind)})"
        raise Unclear(f"the type `{kind}`")


def number(text):
    if not re.fullmatch(r"[\d_<* ]+", text):
        raise Unclear(f"the number `{text}`")
    return eval(text.replace("_", ""))  # digits, shifts and products only


def span(milliseconds):
    for unit, scale in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % scale == 0 and (unit != "d" or milliseconds > 86_400_000):
            return f"{milliseconds // scale}{unit}"
    return f"{milliseconds}ms"


def size(bytes_):
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if bytes_ and bytes_ % scale == 0:
            return f"{bytes_ // scale}{unit}"
    return str(bytes_)


def title(name):
    name = {"Settings": "The file", "SourceSettings": "Source", "Source": "TrainingSource"}.get(name, name)
    words = re.sub(r"(Settings|Spec)$", "", name) or name
    words = snake(words).replace("_", " ")
    return words[0].upper() + words[1:]


def anchor(name):
    return title(name).lower().replace(" ", "-")


def cell(text):
    text = re.sub(r" {2,}", " ", text).replace(" Field docs are the reference manual.", "")
    return re.sub(r"\[(`?\w+(?:::\w+)*`?)\](?!\()", r"\1", text).replace("|", "\\|")


def chapter(types, name, used):
    lines = [f"## {title(name)}", ""]
    if name == "Receiver":
        return lines + receiver(types, used)
    if name in types.enums:
        docs, _, variants = types.enums[name]
        lines += [cell(docs), "", "| written as | meaning |", "|---|---|"]
        for said, marks, variant in variants:
            word = snake(re.match(r"\w+", variant).group())
            keys = [(key_docs, key.split(":")[0].strip()) for key_docs, _, key in members(body(variant, 0))] if "{" in variant else []
            inner = "; ".join(f"`{key}`: {key_docs}" for key_docs, key in keys)
            lines.append(f"| `{word}`{': {…}' if keys else ''} | {cell(said)}{' ' + cell(inner) if inner else ''} |")
        return lines
    docs, attributes, fields = types.structs[name]
    whole = re.search(r"serde\([^)]*\bdefault\b(?!\s*=)", attributes) is not None
    lines += [cell(docs), "", "| key | what is written | default | meaning |", "|---|---|---|---|"]
    for said, marks, field in fields:
        match = re.fullmatch(r"(?:pub(?:\([^)]*\))? )?(?:r#)?(\w+): (.+)", field)
        if match is None:
            raise Unclear(f"{name}: the field `{field}`")
        key, kind = match.groups()
        if re.search(r"serde\([^)]*\bskip\b", marks):
            continue
        explicit = re.search(r'rename = "([^"]+)"', marks)
        written = types.kind(kind, used)
        optional = kind.startswith("Option<")
        given = re.search(r'default = "(\w+)"', marks)
        place = f"{name}.{key}"
        if given:
            default = types.value(types.functions[given.group(1)], kind, place)
        elif whole and isinstance(types.defaults.get(name), dict):
            default = types.value(types.defaults[name][key], kind, place)
        elif whole or optional or re.search(r"serde\([^)]*\bdefault\b", marks):
            default = "" if optional else types.standard(re.sub(r"^(?:\w+::)+", "", kind), place)
        else:
            default = "required"
        lines.append(f"| `{explicit.group(1) if explicit else key}` | {written} | {default} | {cell(said)} |")
    return lines


def receiver(types, used):
    docs, _, _ = types.structs["Receiver"]
    lines = [f"{docs} One of the first six keys, and what all kinds have.", "", "| key | what is written | default | meaning |", "|---|---|---|---|"]
    for said, _, variant in types.enums["Channel"][2]:
        name, kind = re.fullmatch(r"(\w+)\((\w+)\)", variant).groups()
        lines.append(f"| `{snake(name)}` | {types.kind(kind, used)} | | {cell(said)} |")
    for said, _, field in types.structs["Receiver"][2]:
        key, kind = re.fullmatch(r"pub (\w+): (.+)", field).groups()
        if key != "channel":
            lines.append(f"| `{key}` | {types.kind(kind, used)} | {types.standard(kind, key)} | {cell(said)} |")
    return lines


INTRODUCTION = """# Settings

One file, `driftline.yaml`, in the current folder or named with `-c`. Over it lie variables: `DRIFTLINE__TAP__UPSTREAM` is
`tap.upstream`, and its value is YAML. An unknown key is an error that names its place and the nearest known key;
`driftline check` reports every problem at once. Paths are relative to the file.

A span of time is `500ms`, `30s`, `5m`, `1h` or `30d`; a size is `4096`, `8KiB`, `64MiB` or `1GiB`.

This page is written by `docs/settings.py` from the program's own types; a test holds it to them."""


def page():
    types = Types()
    used, done, parts = list(ORDER), [], [INTRODUCTION]
    while pending := [name for name in used if name not in done]:
        name = pending[0]
        done.append(name)
        parts.append("\n".join(chapter(types, name, used)))
    return "\n\n".join(parts) + "\n"


def main():
    try:
        text = page()
    except (Unclear, KeyError) as problem:
        sys.exit(f"docs/settings.py: {problem!s} is not understood\n  hint: teach it, beside what it knows of others")
    if "--check" in sys.argv[1:]:
        if not TARGET.exists() or TARGET.read_text() != text:
            sys.exit("docs/settings.md is not what the settings say\n  hint: run `python3 docs/settings.py`")
    else:
        TARGET.write_text(text)


if __name__ == "__main__":
    main()
