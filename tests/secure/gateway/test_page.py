"""The page at `/`: small, from this server alone, and its script does what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from secure.api import PrivateModel
from secure.connection import Parties
from secure.gateway.page_files import FILES, FOLDER
from secure.gateway.serving import Gateway

NODE = shutil.which("node")


@pytest.fixture
def address(checkpoint: Path, clear_parties: Parties, serve_http: Callable[..., int]) -> str:
    gateway = Gateway(PrivateModel.from_pretrained(checkpoint, parties=clear_parties), ["private"])
    return f"http://127.0.0.1:{serve_http(gateway.app)}"


def test_it_is_served_with_a_policy_that_allows_this_server_alone(address: str) -> None:
    for path, (name, kind) in FILES.items():
        answer = httpx.get(f"{address}{path}", trust_env=False)
        assert answer.status_code == 200 and answer.content == (FOLDER / name).read_bytes()
        assert answer.headers["content-type"] == kind and answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].split("; ")[0] == "default-src 'self'"
    icon = httpx.get(f"{address}/favicon.ico", trust_env=False)
    assert icon.status_code == 204 and not icon.content
    # A page elsewhere that points at this server under a name of its own gets nothing.
    other = httpx.get(address, headers={"host": "elsewhere.example"}, trust_env=False)
    assert other.status_code == 403
    assert httpx.get(f"{address}/v1/models", trust_env=False).json()["data"][0]["serves"] == "embeddings"


def test_it_is_small_and_names_no_other_server() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert set(texts) == {name for name, _ in FILES.values()}
    assert sum(len(text.encode()) for text in texts.values()) < 40_000
    for name, text in texts.items():
        assert "//" not in re.sub(r"^\s*//.*|; //.*", "", text, flags=re.M), name
    # The policy would refuse them, in a browser.
    assert not re.search(r"<script(?! src)|<style|\son\w+=|style=", texts["index.html"])
    # Texts of users and models become no markup.
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", texts["page.js"])


def test_every_element_that_the_script_asks_for_is_there() -> None:
    script, page = (FOLDER / "page.js").read_text(), (FOLDER / "index.html").read_text()
    asked = set(re.findall(r'element\("(\w+)"\)', script))
    assert asked and asked <= set(re.findall(r'id="(\w+)"', page))


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_the_script_reads_streams_and_splits_texts(tmp_path: Path) -> None:
    """Its functions that need no browser, in node."""
    assert NODE is not None
    script = (FOLDER / "page.js").read_text()
    until = script[: script.index("// What happens when.")]
    checks = """
    const assert = require("node:assert");
    const part = (n) => Array.from({ length: n }, (_, i) => "w" + i).join(" ");
    assert.deepStrictEqual(passages("one two\\n\\n three \\n \\n" + part(81)), ["one two", "three", part(80), "w80"]);
    assert.strictEqual(shown(0), "0.00 B");
    assert.strictEqual(shown(22_000_000), "22.0 MB");
    (async () => {
      const sent = ['data: {"a":"é"}', 'event: x\\ndata: {"a":2}', "data: [DONE]", ""].join("\\n\\n");
      const bytes = [...new TextEncoder().encode(sent)].map((byte) => Uint8Array.of(byte));
      const body = ReadableStream.from(bytes);
      const found = [];
      for await (const event of events({ body })) found.push(event.a);
      assert.deepStrictEqual(found, ["é", 2]);
      console.log("checked");
    })();
    """
    file = tmp_path / "check.cjs"
    file.write_text(until + checks)
    found = subprocess.run([NODE, str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert found.stdout == "checked\n", found.stderr
