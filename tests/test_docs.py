"""docs/ as a site: it is built strictly, fits a phone, is searched, and asks nobody else."""

import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from conftest import ROOT, SCREENS, in_a_browser

import llm4brain


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. A dead link or anchor, a page without a way to it, or an argument that a
    docstring explains and the function lacks, is an error."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_every_public_name_is_on_the_page_of_the_api(site):
    page = (ROOT / "docs" / "api.md").read_text()
    found = re.findall(r"^## (\w+)$.*?\.\./llm4brain/([\w/]+)\.py\)$", page, re.M | re.S)
    assert dict(found) == {k: v.replace(".", "/") for k, v in llm4brain._WHERE.items()}
    shown = (site / "api.html").read_text()
    for name, module in llm4brain._WHERE.items():
        assert f'id="llm4brain.{module}.{name}"' in shown


def test_files_that_pages_link_to_are_on_the_site(site):
    shown = (site / "files.html").read_text()
    for target in re.findall(r'files\.html#([^"]+)"', (site / "your-data.html").read_text()):
        assert f'id="{target}"' in shown
    assert 'id="configs-bids-yaml"' in shown
    assert 'href="../your-data.html"' in (site / "project" / "index.html").read_text()


@in_a_browser
@pytest.mark.parametrize("size", SCREENS.values(), ids=SCREENS)
@pytest.mark.parametrize("name", ["index", "architecture", "api"])
def test_a_page_fits_the_screen(visit, address, name, size):
    page = visit(f"{address}{name}.html", within=address, viewport=size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


@in_a_browser
@pytest.mark.parametrize("size", SCREENS.values(), ids=SCREENS)
def test_search_finds_a_word(visit, address, size):
    page = visit(f"{address}targets.html", within=address, viewport=size)
    if size is SCREENS["phone"]:
        page.locator("label[for=__search]").first.click()
    page.locator("input.md-search__input").press_sequentially("haemodynamics")
    found = page.locator(".md-search-result__link").first
    found.wait_for()
    assert "phantom.html" in found.get_attribute("href")
