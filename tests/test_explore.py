"""`advlatgan explore`: its refusals, and the page in a real browser, where there is one."""

import contextlib
import shutil
import signal
import socket
import time
from urllib.request import urlopen

import pytest
from conftest import alive, until

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


@pytest.fixture(scope="module")
def styled(tmp_path_factory):
    "StyleGAN2, untrained, as somebody's network is after its import: grey, and with classes."
    import torch

    from advlatgan import importing
    from advlatgan.nets_stylegan2 import pair

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("styled")
    for name, classes in (("plain", 0), ("classes", 3)):
        G, D = pair(8, 1, z_dim=8, width=1 / 64, num_classes=classes)
        importing.as_checkpoint(dict(G=G, D=D), folder / name, images=8)
    return folder


@pytest.mark.parametrize("name", ["plain", "classes"])
@pytest.mark.parametrize("dataset", ["", "mnist5k"])
def test_the_page_of_a_stylegan2(styled, name, dataset):
    "A drag moves the picture, on each plane, by each walk; no matched one without reals."
    pytest.importorskip("anywidget")
    from advlatgan import explore
    from advlatgan.explore_page import Page

    with contextlib.nullcontext() if dataset else pytest.warns(UserWarning, match="names none"):
        world = explore.open_world(styled / name, dataset, label=2 * (name == "classes"), n=16)
    page = Page(world)
    assert ("advlatgan-m" in page.at["method"].options) == bool(dataset)
    for plane in page.at["plane"].options:
        page.at["plane"].value = plane
        before, told = page.drawn.value, page.view.answered
        page.view.point = [0.4, -0.3]
        assert page.drawn.value != before and page.view.answered == told + 1
    page.at["n_adv"].value = 2
    for method in page.at["method"].options:
        page.at["method"].value = method
        assert "logit" in page.told.value


def test_a_network_that_does_not_fit_the_page_is_one_line(styled):
    from advlatgan import explore

    for given, words in (
        (dict(checkpoint=styled / "classes", label=7), "classes are 0 to 2"),
        (dict(checkpoint=styled / "plain", label=1), "no classes"),
        (dict(checkpoint=styled / "plain", dataset="cifar"), "cifar"),
    ):
        with pytest.raises(ValueError, match=words):
            explore.open_world(**given, n=16)


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


def test_what_is_killed_leaves_no_server(process, toy):
    "And a port that is taken is said."
    pytest.importorskip("voila")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = process("explore", toy, "--port", port, "--no-browser").communicate()[1]
        assert said.count("\n") == 1 and "in use" in said
    for end in (signal.SIGTERM, signal.SIGKILL):
        page = process("explore", toy, "--port", port, "--no-browser")
        until(lambda: alive(f"--port={port}"))
        page.send_signal(end)
        said = page.communicate()[1]
        assert said == "" and page.returncode in (0, -signal.SIGKILL)
        until(lambda: not alive(f"--port={port}"))


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
