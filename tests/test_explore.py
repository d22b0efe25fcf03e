"""`advlatgan explore`: its refusals, and the page in a real browser, where there is one."""

import shutil
import socket
import time
from urllib.request import urlopen

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
PLANE = "canvas.advlatgan-plane"
PICTURES = "[...document.querySelectorAll('img')].map(i => i.src)"


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    "A checkpoint of untrained networks on the ring."
    import torch

    from advlatgan import checkpoints, nets

    torch.manual_seed(0)
    spec = {"arch": "toy", "z_dim": 2, "width": 0.3}
    G, D = nets.build(**spec)
    folder = tmp_path_factory.mktemp("toy")
    state = {"G": G.state_dict(), "D": D.state_dict()}
    checkpoints.save(folder, 1, {"spec": spec}, state, {"data": "ring"})
    return folder


def test_wrong_calls_are_one_line(command, toy, tmp_path):
    for call, word in (
        ((tmp_path / "nothing",), "no checkpoint at"),
        ((toy, "--data", "rign"), "rign"),
    ):
        status, _, said = command("explore", *call, "--no-browser")
        assert status == 2 and word in said and said.count("\n") == 1


@pytest.fixture
def served(process, toy):
    "The address of a page that is there, ended with its kernel afterwards."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    page = process("explore", toy, "--port", port, "--no-browser")
    address = f"http://127.0.0.1:{port}/"
    try:
        assert address in page.stdout.readline()
        for _ in range(240):
            try:
                urlopen(f"{address}voila/static/voila.js", timeout=5).close()
                break
            except OSError as e:
                if "404" in str(e):
                    break
                assert page.poll() is None
                time.sleep(0.5)
        yield address
    finally:
        page.terminate()
        page.communicate(timeout=60)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")
def test_a_drag_changes_the_image(served):
    "The point follows the pointer, the pictures and the step follow it; the console has no error."
    browsers = pytest.importorskip("playwright.sync_api")
    said = []
    with browsers.sync_playwright() as kit:
        browser = kit.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("pageerror", lambda e: said.append(str(e)))
        page.on("console", lambda m: said.append(m.text) if ours(m, served) else None)
        page.goto(served, timeout=120_000)
        page.wait_for_selector(PLANE, timeout=120_000)
        page.wait_for_function(f"{PICTURES}.length == 3")
        before = page.evaluate(PICTURES)
        box = page.locator(PLANE).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        for i in range(1, 9):
            page.mouse.move(x + 10 * i, y - 8 * i)
        page.mouse.up()
        changed = f"([a, b]) => {{ const now = {PICTURES}; return now[0] != a && now[1] != b; }}"
        page.wait_for_function(changed, arg=before[:2], timeout=30_000)
        assert page.evaluate(PICTURES)[2] == before[2]  # the row waits for a slider
        browser.close()
    assert said == []


def ours(message, address):
    "Errors, but those of icons that Voilà's template asks another host for."
    return message.type == "error" and message.location["url"].startswith(address)
