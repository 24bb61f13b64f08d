"""The editor's questions, over HTTP, without the rest of a server."""

import asyncio
import json
import time

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from nava_core.estimate import estimated_tokens


def answers(nava, *questions):
    """(status, JSON or text) of each (path, bytes or object), all asked at once."""

    async def ask():
        routes = web.RouteTableDef()
        nava("routes").register(routes)
        app = web.Application()
        app.add_routes(routes)
        async with TestClient(TestServer(app)) as client:

            async def one(path, body):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                async with client.post(path, data=data) as answer:
                    text = await answer.text()
                    return answer.status, json.loads(text) if answer.status == 200 else text

            return await asyncio.gather(*(one(*question) for question in questions))

    return asyncio.run(ask())


def test_hostile_bodies_are_refused(nava):
    bodies = (b"[" * 60_000, b'{"prompt":' + b"[" * 60_000, b"\xff", b"9" * 60_000, b"[1]")
    assert [status for status, _ in answers(nava, *(("/nava/prompt", body) for body in bodies))] == [400] * len(bodies)


def test_hostile_texts_are_answered_quickly(nava):
    scripts = [" " * 60_000, "a" + " " * 60_000 + "b", "\t" * 30_000, "a\u3000" * 8_000, "(" * 60_000]
    start = time.process_time()
    found = [
        answers(nava, ("/nava/prompt", {"dialogue": {"scene": "", "script": s, "sounds": ""}}))[0] for s in scripts
    ]
    taken = time.process_time() - start
    print(taken)
    assert [status for status, _ in found] == [200] * len(scripts) and taken < 2
    faulty = found[1][1]
    assert "row 1" in faulty["problems"][0] and faulty["tokens"] is None, "no count for what is no prompt"
    ((status, report),) = answers(nava, ("/nava/prompt", {"prompt": "\ud800 &#" + "9" * 5000 + ";"}))
    assert status == 200 and report["tokens"] > 0


def test_floods_are_refused_and_pass(nava):
    flood = [("/nava/prompt", {"prompt": "汉\n" * 7_000})] * 40
    nava("routes")._aside.submit(time.sleep, 0.5)  # all come while one is being read
    statuses = {status for status, _ in answers(nava, *flood)}
    assert 503 in statuses and statuses <= {200, 503}
    assert answers(nava, ("/nava/prompt", {"prompt": "still there"}))[0][0] == 200


def test_what_the_panels_say(nava):
    ((_, report),) = answers(nava, ("/nava/prompt", {"prompt": 'A man says "come here". <S><E>'}))
    assert "quotation marks" in report["hints"][0] and "spoken line 1 is empty" in report["warnings"][0]
    size = {"mode": "audio + video", "width": 1280, "height": 704, "seconds": 6}
    (_, one), (_, two), (_, small), (status, _) = answers(
        nava,
        ("/nava/size", size),
        ("/nava/size", size | {"batch_size": 2}),
        ("/nava/size", size | {"width": 320, "height": 192}),
        ("/nava/size", size | {"batch_size": "a"}),
    )
    assert abs(two["gigabytes"] / one["gigabytes"] - 2) < 0.05 and not one["hints"] and one["memory"] == "1.0 GB"
    assert small["memory"].endswith(" MB") and "far from" in small["hints"][0]
    assert status == 400


def test_tokens_are_estimated_by_script():
    """Without the encoder's pieces: about 1.3 tokens an English word and two for three Chinese characters."""
    english = "A woman walks slowly through a quiet kitchen in the morning light while rain falls outside the window."
    chinese = "一位女士在清晨的阳光里慢慢走过安静的厨房窗外下着雨"
    assert len(english.split()) < estimated_tokens(english) < 1.5 * len(english.split())
    assert 0.55 * len(chinese) < estimated_tokens(chinese) < 0.8 * len(chinese)
