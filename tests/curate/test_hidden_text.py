"""Text in templates and metadata is read only where the page itself says nothing."""

import json

from layouts import CHINESE, ENGLISH, article, paragraphs

from tongwen.curate.html.hidden_text import article_of_metadata, templates_as_markup
from tongwen.curate.html.main_content import extract


def test_a_page_with_text_is_not_searched_for_more() -> None:
    data = json.dumps({"@type": "Article", "articleBody": "Something else entirely. " * 40})
    script = f'<script type="application/ld+json">{data}</script>'
    html = article(ENGLISH, "").replace("</head>", script + "</head>")
    assert "Something else" not in extract(html).text


def test_a_text_in_several_fields_comes_once_and_in_paragraphs() -> None:
    body = "\n\n".join(CHINESE.texts)
    data = [{"@type": "NewsArticle", "headline": "渡船", "articleBody": body}] * 2
    html = f'<script type="application/ld+json">{json.dumps(data)}</script><div id=app></div>'
    assert extract(html).text.endswith("\n\n".join(CHINESE.texts))
    assert extract(html).text.count(CHINESE.texts[0]) == 1


def test_questions_of_metadata_come_before_their_answers() -> None:
    questions = [
        {
            "@type": "Question",
            "name": f"{short}?",
            "acceptedAnswer": {"@type": "Answer", "text": text},
        }
        for short, text in zip(ENGLISH.short, ENGLISH.texts, strict=False)
    ]
    data = json.dumps({"@type": "FAQPage", "mainEntity": questions})
    markup = article_of_metadata(f'<script type="application/ld+json">{data}</script>')
    places = [
        markup.index(part)
        for pair in zip(ENGLISH.short, ENGLISH.texts, strict=False)
        for part in pair
    ]
    assert places == sorted(places)


def test_markup_in_the_data_of_an_application_is_found() -> None:
    data = {"props": {"pageProps": {"post": {"id": 3, "content": paragraphs(ENGLISH.texts)}}}}
    html = f'<script id="__NEXT_DATA__" type="application/json">{json.dumps(data)}</script>'
    assert extract(html).text == "\n\n".join(ENGLISH.texts)


def test_broken_and_deep_data_is_passed_over() -> None:
    for data in ("{", "[" * 100_000, "[" * 5_000 + "]" * 5_000, '{"@type": 3, "articleBody": 5}'):
        html = f'<script type="application/ld+json">{data}</script>'
        assert article_of_metadata(html) == ""
        assert extract(html).text == ""


def test_a_template_without_an_end_and_a_page_without_templates_give_nothing() -> None:
    assert templates_as_markup('<script type="text/template"><p>x') == ""
    assert templates_as_markup("<p>x</p>") == ""
