"""The text of a `.drv` file as a `Derivation`. Pure.

Nix writes derivations as ATerms: `Derive([outputs],[inputs],[sources],system,builder,[arguments],[environment])`
(Nix manual, "ATerm format"; `src/libstore/derivations.cc` writes it without any blanks), or, with derivations
that are made by derivations, `DrvWithVersion("xp-dyn-drv",…)` with the same fields. A big system has 100,000
of them, so the common form is read by a few regular expressions.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pipelinegen.inventory.model import Derivation

_STRING = r'"(?:[^"\\]|\\.)*"'
_HEAD = re.compile(r'(?:Derive\(|DrvWithVersion\("xp-dyn-drv",)\[')
_OUTPUT = re.compile(rf"\(({_STRING}),({_STRING}),({_STRING}),({_STRING})\),?", re.DOTALL)
_NAMES = r'\[(?:"[^"\\]*",?)*\]'
_INPUT = re.compile(rf'\(("[^"\\]*"),(?:({_NAMES})|\(({_NAMES}),)')
_TAIL = re.compile(rf"\],\[(?:{_STRING},?)*\],({_STRING}),{_STRING},\[(?:{_STRING},?)*\],\[", re.DOTALL)
# The environment, which is never empty, comes last; a quote behind an odd number of backslashes ends nothing.
_END = re.compile(r'(?<!\\)(?:\\\\)*"\)\]\)\Z')
_ONE_STRING = re.compile(_STRING, re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_UNESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_HASH_CHARACTERS = 32


class ATermError(ValueError):
    """The text is no derivation."""


def parse_derivation(path: str, text: str) -> Derivation:
    """Read the content of the file `path` (`/nix/store/<hash>-<name>.drv`).

    Raises:
        ATermError: the text is no derivation, or cut off.
    """
    head = _HEAD.match(text)
    if head is None or _END.search(text) is None:
        raise ATermError("this is no derivation, or only a part of one")
    outputs, fixed, position = _outputs(text, head.end())
    if not text.startswith("],[", position):
        raise ATermError("the outputs of the derivation cannot be read")
    inputs, position = _inputs(text, position + 3)
    tail = _TAIL.match(text, position)
    if tail is None:
        raise ATermError("the inputs of the derivation cannot be read")
    settings = _settings(text, tail.end())
    return Derivation(
        path=path,
        name=path.rpartition("/")[2][_HASH_CHARACTERS + 1 :].removesuffix(".drv"),
        system=_unquote(tail[1]),
        outputs=outputs,
        inputs=inputs,
        features=tuple(sorted(settings["requiredSystemFeatures"])),
        prefer_local=settings["preferLocalBuild"],
        allow_substitutes=settings["allowSubstitutes"],
        fixed_output=fixed,
    )


def _outputs(text: str, position: int) -> tuple[dict[str, str | None], bool, int]:
    outputs: dict[str, str | None] = {}
    fixed = False
    while match := _OUTPUT.match(text, position):
        name, path, _, content_hash = map(_unquote, match.groups())
        # No path: it is named by its content, or depends on something that is.
        outputs[name] = path or None
        # Instead of a hash, an impure derivation has this word.
        fixed = fixed or content_hash not in {"", "impure"}
        position = match.end()
    return outputs, fixed, position


def _inputs(text: str, position: int) -> tuple[dict[str, tuple[str, ...]], int]:
    inputs: dict[str, tuple[str, ...]] = {}
    while match := _INPUT.match(text, position):
        position = match.end()
        names = match[2]
        if names is None:
            # The outputs that are used, then the outputs of derivations which some outputs turn out to be.
            names = match[3]
            end = _skip_list(text, position)
            names += "".join(re.findall(r'[(]("[^"\\]*")', text[position:end]))
            position = end + 1
        inputs[match[1][1:-1]] = tuple(dict.fromkeys(re.findall(r'"([^"\\]*)"', names)))
        if not text.startswith(")", position):
            raise ATermError("an input of the derivation cannot be read")
        position += 2 if text.startswith(",", position + 1) else 1
    return inputs, position


def _skip_list(text: str, position: int) -> int:
    """The position behind the list that begins at `position`."""
    depth = 0
    while position < len(text):
        character = text[position]
        if character == '"':
            match = _ONE_STRING.match(text, position)
            if match is None:
                break
            position = match.end()
            continue
        position += 1
        depth += {"[": 1, "]": -1}.get(character, 0)
        if depth == 0:
            return position
    raise ATermError("a list of the derivation does not end")


def _settings(text: str, start: int) -> dict[str, Any]:
    """What the environment says to Nix itself."""
    structured = _variable(text, start, "__json")
    if structured is not None:
        try:
            found = json.loads(structured)
        except ValueError as error:
            raise ATermError("the structured attributes of the derivation are no JSON") from error
        features = found.get("requiredSystemFeatures")
        return {
            "requiredSystemFeatures": {str(one) for one in features} if isinstance(features, list) else set(),
            "preferLocalBuild": found.get("preferLocalBuild") is True,
            "allowSubstitutes": found.get("allowSubstitutes", True) is not False,
        }
    allowed = _variable(text, start, "allowSubstitutes")
    return {
        "requiredSystemFeatures": set((_variable(text, start, "requiredSystemFeatures") or "").split()),
        "preferLocalBuild": _variable(text, start, "preferLocalBuild") == "1",
        "allowSubstitutes": allowed is None or allowed == "1",
    }


def _variable(text: str, start: int, name: str) -> str | None:
    # Quotes inside strings are escaped, so `("` begins a variable wherever it stands.
    position = text.find(f'("{name}","', start)
    if position < 0:
        return None
    match = _ONE_STRING.match(text, position + len(name) + 4)
    if match is None:
        raise ATermError("the environment of the derivation cannot be read")
    return _unquote(match[0])


def _unquote(literal: str) -> str:
    inner = literal[1:-1]
    return _ESCAPE.sub(lambda found: _UNESCAPED.get(found[1], found[1]), inner) if "\\" in inner else inner
