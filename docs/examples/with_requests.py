import requests

daypass = requests.Session()
daypass.trust_env = False  # no proxy settings, no .netrc: the call stays on this machine
daypass.headers["X-User-Id"] = "bob"

answer = daypass.get("http://127.0.0.1:7420/calcom/v2/me", timeout=60)
answer.raise_for_status()
me = answer.json()["data"]
print(f"{me['name']} has the id {me['id']} at Cal.com")

answer = daypass.get(
    "http://127.0.0.1:7420/calcom/v2/bookings",
    headers={"X-User-Id": "alice", "cal-api-version": "2024-08-13"},
    timeout=60,
)
answer.raise_for_status()
for booking in answer.json()["data"]:
    print(f"{booking['title']} at {booking['start']}")
