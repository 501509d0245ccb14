"""Rules changed while the service runs."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from app.db.migrate import migrate
from app.safety.watch import REVIEW_CODES, RuleWatch
from app.settings import ROOT
from app.users.roles import Role
from tests.conftest import make_settings, running


async def test_a_bad_rule_file_keeps_the_last_good_version_and_a_good_one_is_audited(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    shutil.copytree(ROOT / "app" / "safety" / "rules", rules)
    settings = make_settings(tmp_path / "var", None, rules_dir=rules)
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as service:
        parts = service.parts
        watch = RuleWatch(parts.triage, rules, parts.audit)
        version = parts.triage.version
        changed = rules / "general.yaml"
        good = changed.read_text(encoding="utf-8")

        changed.write_text("rules: [unfinished", encoding="utf-8")
        assert await watch.check() is False
        assert parts.triage.version == version
        root = str(service.http.base_url).removesuffix("/api/v1/")
        metrics = (await service.http.get(root + "/metrics")).text
        assert "anxin_rule_file_alarms_total 0.0" not in metrics
        emergency = await service.ask(await service.guest(), "我胸口压着痛，一身冷汗")
        assert emergency.json()["triage"]["level"] == "emergency"

        changed.write_text(good + "\n# reviewed again\n", encoding="utf-8")
        os.utime(changed, (1, 1))
        await watch.check()
        staff = await service.staff(Role.OPERATOR)
        entries = (await service.http.get("/admin/audit", headers=staff)).json()["items"]
        actions = [entry["action"] for entry in entries]
        assert "rules.rejected" in actions
        assert "rules.activated" in actions


async def test_review_codes_follow_their_folder_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    codes = tmp_path / "codes"
    shutil.copytree(ROOT / "app" / "safety" / "codes", codes)
    settings = make_settings(tmp_path / "var", None, codes_dir=codes)
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as service:
        parts = service.parts
        watch = RuleWatch(parts.reviewer, codes, parts.audit, REVIEW_CODES)
        version = parts.reviewer.version
        changed = codes / "code_dose_change.yaml"
        good = changed.read_text(encoding="utf-8")

        changed.write_text("rules: [unfinished", encoding="utf-8")
        assert await watch.check() is False
        assert parts.reviewer.version == version

        changed.write_text(good + "\n# reviewed again\n", encoding="utf-8")
        os.utime(changed, (1, 1))
        assert await watch.check() is True
        assert parts.reviewer.version != version
        staff = await service.staff(Role.OPERATOR)
        entries = (await service.http.get("/admin/audit", headers=staff)).json()["items"]
        actions = [entry["action"] for entry in entries]
        assert "codes.rejected" in actions
        assert "codes.activated" in actions
