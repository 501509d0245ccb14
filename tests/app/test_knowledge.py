"""Articles, search and the graph over HTTP."""

from __future__ import annotations

import pytest

from tests.conftest import Service


async def test_search_finds_and_says_when_there_is_nothing(service: Service) -> None:
    found = (
        await service.http.get("/knowledge/search", params={"q": "拜阿司匹灵饭前吃还是饭后吃", "limit": 3})
    ).json()
    assert found["evidence"] == "sufficient"
    assert found["passages"][0]["document_id"] == "car-015"
    assert len(found["passages"]) <= 3
    nothing = (await service.http.get("/knowledge/search", params={"q": "公积金贷款怎么办理"})).json()
    assert nothing == {"evidence": "none", "passages": []}


async def test_search_keeps_to_the_department_asked_for(service: Service) -> None:
    found = await service.http.get("/knowledge/search", params={"q": "荨麻疹怎么办", "department": "allergy"})
    assert {passage["department"] for passage in found.json()["passages"]} == {"allergy"}


async def test_articles_in_pages_by_kind_and_by_words(service: Service) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await service.http.get("/articles", params={"limit": 50, "cursor": cursor})).json()
        seen += [item["document_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == page["total"] == len(set(seen)) >= 160
    drugs = (await service.http.get("/articles", params={"department": "allergy", "kind": "drug"})).json()[
        "items"
    ]
    assert {(item["department"], item["kind"]) for item in drugs} == {("allergy", "drug")}
    brand = (await service.http.get("/articles", params={"q": "波立维"})).json()["items"]
    assert brand[0]["document_id"] == "car-016"


async def test_article_reads_as_markdown_and_safe_html_with_sources(service: Service) -> None:
    article = (await service.http.get("/articles/car-015")).json()
    assert article["markdown"].startswith("# 阿司匹林")
    assert "<h1>" in article["html"]
    assert "<script" not in article["html"]
    assert {source["n"] for source in article["sources"]} == set(range(1, len(article["sources"]) + 1))
    assert "car-015" not in {other["document_id"] for other in article["related"]}
    assert article["related"]
    assert (await service.http.get("/articles/none-such")).json()["error"]["code"] == "document_not_found"


async def test_recommended_follow_what_was_asked(service: Service) -> None:
    guest = await service.guest()
    await service.ask(guest, "荨麻疹反复发作怎么办")
    articles = (await service.http.get("/articles/recommended", headers=guest)).json()["items"]
    assert any("荨麻疹" in article["title"] for article in articles[:3])


async def test_brand_names_lead_to_the_entity_with_provenance(service: Service) -> None:
    found = (await service.http.get("/graph/entities", params={"q": "波立维"})).json()["items"]
    assert found[0]["name"] == "氯吡格雷"
    around = (await service.http.get(f"/graph/entities/{found[0]['id']}")).json()
    assert "波立维" in around["entity"]["aliases"]
    assert around["edges"]
    assert all(edge["source"] and edge["year"] and edge["claim"] for edge in around["edges"])
    ids = {entity["id"] for entity in around["entities"]}
    assert all(edge["head"] in ids and edge["tail"] in ids for edge in around["edges"])
    assert (await service.http.get("/graph/entities/drg:nothing")).status_code == 404


@pytest.mark.parametrize(
    ("drugs", "severity"),
    [
        (["硝酸甘油", "万艾可"], "contraindicated"),
        (["万艾可", "硝酸甘油"], "contraindicated"),
        (["波立维", "奥美拉唑"], "serious"),
    ],
)
async def test_interactions_resolve_brands_in_any_order(
    service: Service, drugs: list[str], severity: str
) -> None:
    found = (await service.http.get("/graph/interactions", params={"drug": drugs})).json()
    assert found["interactions"][0]["severity"] == severity
    assert found["interactions"][0]["why"]
    assert found["unknown"] == []


async def test_unknown_drugs_are_named_not_cleared(service: Service) -> None:
    found = (await service.http.get("/graph/interactions", params={"drug": ["硝酸甘油", "某某神药"]})).json()
    assert found["unknown"] == ["某某神药"]
