"""Take the pictures of the README: `python utils/pictures.py`, after `make adapter`.

They are of the app in a headless Chromium, with a person of the sample dialogues and the adapter, and of the adapter's
report.
"""

import argparse
import io
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, COLOURS = 1280, 800, 64
WAIT = 120_000  # milliseconds until something counts as not coming


def main() -> None:
    """Write docs/pictures/app.png and report.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runs/adapter", help="what replies in the app")
    parser.add_argument("--report", type=Path, default=Path("runs/adapter_report/report.html"))
    parser.add_argument("--person", default="leroy", help="of the sample dialogues")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "docs" / "pictures")
    args = parser.parse_args()
    if not args.report.is_file():
        raise SystemExit(f"There is no report '{args.report}'. Run `make adapter` first, or pass --report.")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, app(args.model) as address:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(WAIT)
        page.goto(address)
        chat(page, args.person)
        save(page, args.output_dir / "app.png")
        page.goto(args.report.resolve().as_uri())
        save(page, args.output_dir / "report.png")
        browser.close()


@contextmanager
def app(model: str) -> Iterator[str]:
    """Run the app on the sample dialogues, and give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "idl_hf.cli", "app", "--model", model, "--encoder", "offline"]
    command += ["--port", str(port), "--data_dir", str(ROOT / "idl_hf" / "sample_data")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        while "Open http" not in (line := process.stdout.readline()):
            if not line:
                raise SystemExit("The app ended instead of opening; what it printed above says why.")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def chat(page: Page, person: str) -> None:
    """Pick a person, say two things, and ask why."""
    page.get_by_role("tab", name="Folder", exact=True).click()
    page.locator("#person input").click()
    page.get_by_role("option", name=re.compile(f"^.? *{person}")).click()
    page.locator("#dialogues h3").filter(has_text=f"{person}:").wait_for()
    page.get_by_role("tab", name="Chat", exact=True).click()
    for number, text in enumerate(("what do you do for a living ?", "and at the weekend ?"), start=1):
        page.locator("#message textarea").fill(text)
        page.locator("#message textarea").press("Enter")
        page.wait_for_function("n => document.querySelectorAll('[data-testid=bot]').length == n", arg=number)
        page.get_by_role("button", name="Send").wait_for()
    page.locator("#why").click()
    page.locator("#references .fall").first.wait_for()


def save(page: Page, file: Path) -> None:
    """Save what the page shows in few colours, so that it stays small."""
    shown = Image.open(io.BytesIO(page.screenshot()))
    shown.convert("RGB").quantize(COLOURS).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
