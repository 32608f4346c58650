"""An app whose users connect Cal.com. It holds no OAuth code, no client secret and no token."""

import html
import os
from typing import Annotated, Any

import httpx
from fastapi import Cookie, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from standardwebhooks import Webhook, WebhookVerificationError

APP_URL = os.environ.get("APP_URL", "http://127.0.0.1:3000")

app = FastAPI()
webhook = Webhook(os.environ["DAYPASS_SIGNING_SECRET"])
daypass = httpx.AsyncClient(
    base_url=os.environ.get("DAYPASS_URL", "http://127.0.0.1:7420"),
    trust_env=False,  # no proxy settings, no .netrc: the calls stay on this machine
    timeout=60,
)


def signed_in_user(user: Annotated[str, Cookie()] = "alice") -> str:
    """Stands for your own session. Daypass believes what you say, so never let the browser choose."""
    return user


User = Annotated[str, Depends(signed_in_user)]


# --- connect ---


@app.get("/", response_class=HTMLResponse)
async def page(connection: str = "", reason: str = "") -> str:
    """The connect button, and how the consent ended: connected, denied or failed."""
    told = ""
    if connection == "connected":
        told = "Cal.com is connected."
    elif connection:
        told = f"Not connected: {reason}."
    return f"""<!doctype html><p>{html.escape(told)}</p>
    <form method="post" action="/connect"><button>Connect Cal.com</button></form>"""


@app.post("/connect")
async def connect(user: User) -> RedirectResponse:
    answer = await daypass.post(
        "/-/calcom/connect-link",
        headers={"X-User-Id": user},
        json={"return_to": f"{APP_URL}/"},
    )
    answer.raise_for_status()
    return RedirectResponse(answer.json()["url"], status_code=303)


# --- call ---


@app.get("/meetings")
async def meetings(user: User) -> list[dict[str, str]]:
    # Where the provider's address was, there is Daypass, and X-User-Id says who.
    answer = await daypass.get(
        "/calcom/v2/bookings",
        headers={"X-User-Id": user, "cal-api-version": "2024-08-13"},
    )
    # 424: this user has not connected, or has to connect again.
    if answer.status_code == 424:
        raise HTTPException(409, "Connect Cal.com first")
    answer.raise_for_status()
    return [{"name": one["title"], "start": one["start"]} for one in answer.json()["data"]]


# --- webhooks ---

# Stands for a table of your database, where the id is unique.
news: dict[str, dict[str, Any]] = {}


@app.post("/webhooks/daypass", status_code=204)
async def take(request: Request) -> Response:
    # The signature is over the raw bytes: body(), not json().
    body = await request.body()
    try:
        data = webhook.verify(body, dict(request.headers))
    # ValueError: what is no base64, no UTF-8 or no signature at all.
    except (WebhookVerificationError, ValueError):
        raise HTTPException(401, "not from Daypass") from None
    # The same id may come again, after a crash or a replay.
    news.setdefault(
        request.headers["webhook-id"],
        {
            "user": request.headers["x-user-id"],
            "event": request.headers["daypass-event"],
            "data": data,
        },
    )
    # 2xx once it is stored, and soon: work that takes long belongs into a queue.
    return Response(status_code=204)


@app.get("/news")
async def news_of(user: User) -> list[dict[str, Any]]:
    return [one for one in news.values() if one["user"] == user]
