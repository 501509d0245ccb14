"""The graph page in a real browser, on a desk and on a phone."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.db.migrate import migrate
from tests.conftest import Service, make_settings, running

pytestmark = pytest.mark.browser
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 375, "height": 740}}


@pytest.fixture(scope="session")
def chromium() -> Iterator[str]:
    path = shutil.which("chromium")
    assert path is not None, "make test-browser installs chromium"
    yield path


@pytest.fixture(scope="session")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    settings = make_settings(tmp_path_factory.mktemp("browser"), None)
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as service:
        yield service


@pytest.mark.parametrize("size", SIZES)
async def test_search_click_and_provenance(served: Service, chromium: str, size: str, tmp_path: Path) -> None:
    from playwright.async_api import async_playwright, expect

    root = str(served.http.base_url).removesuffix("/api/v1/")
    foreign: list[str] = []
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = await browser.new_page(viewport=SIZES[size])  # type: ignore[arg-type]
        page.on("request", lambda r: None if r.url.startswith((root, "data:")) else foreign.append(r.url))
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        await page.goto(f"{root}/graph")
        await page.wait_for_selector("#chart[data-centre]")
        await page.fill("#query", "波立维")
        await page.wait_for_selector("#suggestions li")
        await page.click("#suggestions li")
        await expect(page.locator("#name")).to_have_text("氯吡格雷")
        assert "波立维" in await page.inner_text("#aliases")
        assert int(await page.get_attribute("#chart", "data-nodes") or 0) > 3
        first = page.locator("#relations li").first
        assert (
            "《" in await first.locator(".source").inner_text()
            or "（" in await first.locator(".source").inner_text()
        )
        linked = await first.locator("a").inner_text()
        await first.locator("a").click()
        await expect(page.locator("#name")).to_have_text(linked)
        overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0
        colours = await page.evaluate(
            "new Set(anxinChart.getOption().series[0].data.map(d => d.category)).size"
        )
        assert colours > 1
        centre = await page.get_attribute("#chart", "data-centre")
        node = await page.evaluate(
            """centre => { const data = anxinChart.getModel().getSeriesByIndex(0).getData();
            const i = [...Array(data.count()).keys()].find(i => data.getId(i) !== centre);
            const at = data.getItemGraphicEl(i).transformCoordToGlobal(0, 0);
            const box = document.querySelector('#chart').getBoundingClientRect();
            return {name: data.getName(i), x: box.x + at[0], y: box.y + at[1]}; }""",
            centre,
        )
        await page.mouse.click(node["x"], node["y"])
        await expect(page.locator("#name")).not_to_have_text(linked)
        centre = await page.get_attribute("#chart", "data-centre")
        await page.fill("#query", "完全不存在的词")
        await page.click("#search button")
        await expect(page.locator("#status")).to_contain_text("没有找到")
        assert await page.get_attribute("#chart", "data-centre") == centre
        await page.screenshot(path=str(tmp_path / f"{size}.png"))
        await browser.close()
    assert foreign == []
    assert complaints == []
