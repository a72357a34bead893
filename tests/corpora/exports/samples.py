"""A small export of each app, as the app lays it out. Nobody said any of this: it is written for the tests.

SAMPLES: by format, the files of an export by their names within it.
"""

import json

ZONE = "2024-03-09T21:04:11"  # as Telegram's date, in a zone two hours east
TELEGRAM_MESSAGES = [
    {
        "id": 1, "type": "service", "date": "2024-03-09T21:00:00", "date_unixtime": "1710010800",
        "actor": "Оксана", "actor_id": "user77", "action": "create_group", "title": "Дача", "text": "",
    },
    {
        "id": 2, "type": "message", "date": ZONE, "date_unixtime": "1710011051", "from": "Оксана",
        "from_id": "user77", "text": "Хто привезе мангал? 🔥",
        "text_entities": [{"type": "plain", "text": "Хто привезе мангал? 🔥"}],
    },
    {
        "id": 3, "type": "message", "date": "2024-03-09T21:05:00", "date_unixtime": "1710011100", "from": "آرش",
        "from_id": "user12", "reply_to_message_id": 2,
        "text": ["من میارم، ", {"type": "bold", "text": "ساعت ۵"}, " ", {"type": "link", "text": "https://ex.am/ple"}],
    },
    {
        "id": 4, "type": "message", "date": "2024-03-09T21:06:00", "from": "Оксана", "from_id": "user77",
        "photo": "(File not included. Change data exporting settings to download.)", "width": 9, "height": 9,
        "text": "",
    },
    {
        "id": 5, "type": "message", "date": "2024-03-09T21:06:30", "from": "Оксана", "from_id": "user77",
        "photo": "photos/photo_1.jpg", "text": "ось він",
    },
    {
        "id": 6, "type": "message", "date": "2024-03-09T21:07:00", "from": "آرش", "from_id": "user12",
        "file": "stickers/s.webp", "media_type": "sticker", "sticker_emoji": "😂", "text": "",
    },
    {
        "id": 7, "type": "message", "date": "2024-03-09T21:08:00", "from": "آرش", "from_id": "user12",
        "forwarded_from": None, "text": "Погода: +21, без опадів",
    },
    {
        "id": 8, "type": "message", "date": "2024-03-09T21:09:00", "from": None, "from_id": "user5",
        "text": "Я теж буду",
    },
    {
        "id": 9, "type": "service", "date": "2024-03-09T21:10:00", "actor": "Оксана", "actor_id": "user77",
        "action": "phone_call", "duration_seconds": 60, "discard_reason": "hangup", "text": "",
    },
    {
        "id": 10, "type": "message", "date": "2024-03-09T21:11:00", "from": "Оксана", "from_id": "user77",
        "via_bot": "@vid", "text": "Cat video",
    },
]  # fmt: skip
TELEGRAM = {"name": "Дача", "type": "private_group", "id": 4401, "messages": TELEGRAM_MESSAGES}
TELEGRAM_ALL = {
    "about": "Here is the data you requested.",
    "personal_information": {"user_id": 77, "first_name": "Оксана"},
    "contacts": {"about": "Contacts.", "list": [{"first_name": "Арсен"}]},
    "chats": {
        "about": "This page lists all chats from this export.",
        "list": [
            {"name": "Дача", "type": "private_group", "id": 4401, "messages": TELEGRAM_MESSAGES[:3]},
            {"name": None, "type": "personal_chat", "id": 9, "messages": TELEGRAM_MESSAGES[7:8]},
            {"type": "saved_messages", "id": 77, "messages": []},
        ],
    },
    "left_chats": {
        "about": "Left.",
        "list": [{"name": "Дача", "type": "public_supergroup", "id": 8, "messages": TELEGRAM_MESSAGES[1:2]}],
    },
}


def discord_message(number: int, **changes) -> dict:
    return {
        "id": str(1000 + number),
        "type": "Default",
        "timestamp": f"2023-11-04T12:0{number}:30.25+09:00",
        "timestampEdited": None,
        "callEndedTimestamp": None,
        "isPinned": False,
        "content": "",
        "author": {
            "id": "31", "name": "haru_k", "discriminator": "0000", "nickname": "ハル", "color": None, "isBot": False,
            "roles": [], "avatarUrl": "https://cdn.example/31.png",
        },
        "attachments": [], "embeds": [], "stickers": [], "reactions": [], "mentions": [],
    } | changes  # fmt: skip


def discord_author(**changes) -> dict:
    return {"id": "32", "name": "finn", "discriminator": "0", "nickname": "Finn", "isBot": False} | changes


DISCORD_MESSAGES = [
    discord_message(0, type="GuildMemberJoin", content="Joined the server.", author=discord_author()),
    discord_message(1, content="今日の対局、見た？"),
    discord_message(2, type="Reply", content="yes!! 19...Qh4 😱", author=discord_author(),
                    reference={"messageId": "1001", "channelId": "7", "guildId": "6"}),
    discord_message(3, attachments=[{"id": "1", "url": "x.png", "fileName": "x.png", "fileSizeBytes": 3}]),
    discord_message(4, content="棋譜はこれ", attachments=[{"id": "2", "url": "k.sgf", "fileName": "k.sgf"}]),
    discord_message(5, content="Now playing: Kokoro", author=discord_author(id="40", name="groovy", isBot=True)),
    discord_message(6, content="https://tenor.com/view/cat-chess-gif-123", embeds=[{"title": "", "url": "x"}]),
    discord_message(7, type="Call", content="Started a call that lasted 3 minutes."),
    discord_message(8, forwardedMessage={"content": "Liga am Montag", "attachments": []}, author=discord_author()),
    discord_message(9, author=discord_author(id="33", nickname="Finn"), content="other Finn here"),
]  # fmt: skip
DISCORD = {
    "guild": {"id": "6", "name": "囲碁 & chess", "iconUrl": ""},
    "channel": {"id": "7", "type": "GuildTextChat", "categoryId": None, "category": None, "name": "general"},
    "dateRange": {"after": None, "before": None},
    "exportedAt": "2023-11-05T00:00:00+00:00",
    "messages": DISCORD_MESSAGES,
    "messageCount": len(DISCORD_MESSAGES),
}


def as_meta_writes(value: object) -> str:
    """Return JSON in which each byte of UTF-8 is a character of its own."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return "".join(chr(byte) if byte < 128 else f"\\u{byte:04x}" for byte in text.encode())


INSTAGRAM_MESSAGES = [  # newest first
    {"sender_name": "José Núñez", "timestamp_ms": 1700000900000, "is_unsent": True},
    {"sender_name": "Lotte", "timestamp_ms": 1700000800000, "content": "Reacted 😍 to your message "},
    {"sender_name": "José Núñez", "timestamp_ms": 1700000700000, "content": "Liked a message"},
    {
        "sender_name": "Lotte", "timestamp_ms": 1700000600000, "content": "Lotte sent an attachment.",
        "share": {"link": "https://www.instagram.com/p/1/", "share_text": "Rezept", "original_content_owner": "koch"},
    },
    {"sender_name": "José Núñez", "timestamp_ms": 1700000500000, "content": "José Núñez started a video chat.",
     "call_duration": 73},
    {"sender_name": "Lotte", "timestamp_ms": 1700000400000, "photos": [{"uri": "photos/1.jpg"}]},
    {"sender_name": "Lotte", "timestamp_ms": 1700000300000, "content": "schau mal: https://ex.am/ple",
     "share": {"link": "https://ex.am/ple"}},
    {"sender_name": "José Núñez", "timestamp_ms": 1700000200000, "content": "¡Qué guay! नमस्ते 🎉",
     "reactions": [{"reaction": "❤", "actor": "Lotte"}]},
]  # fmt: skip
INSTAGRAM_OLDER = [
    {"sender_name": "Lotte", "timestamp_ms": 1700000100000, "content": "Grüß dich, wie war's?"},
    {"sender_name": "Lotte", "timestamp_ms": 1700000050000, "content": "Lotte named the group Käse."},
]


def instagram_chat(messages: list) -> dict:
    return {
        "participants": [{"name": "José Núñez"}, {"name": "Lotte"}],
        "messages": messages,
        "title": "José Núñez",
        "is_still_participant": True,
        "thread_path": "inbox/jose_1",
        "magic_words": [],
    }


SLACK_USERS = [
    {"id": "U1", "name": "noa", "real_name": "נועה לוי", "profile": {"display_name": "נועה", "real_name": "נועה לוי"}},
    {"id": "U2", "name": "pierre", "profile": {"display_name": "", "real_name": "Pierre Émile"}, "deleted": True},
    {"id": "U3", "name": "deploybot", "is_bot": True, "profile": {"real_name": "deploybot"}},
]
SLACK_DAY = [
    {"type": "message", "subtype": "channel_join", "user": "U2", "text": "<@U2> joined", "ts": "1715900000.000100"},
    {"type": "message", "user": "U1", "text": "בוקר טוב <@U2> &amp; co &lt;3 <https://ex.am/p|la page>",
     "ts": "1715900060.000200", "client_msg_id": "c1", "thread_ts": "1715900060.000200", "reply_count": 1},
    {"type": "message", "user": "U2", "text": "salut ! <!here> <#C9|général> <https://ex.am/q>",
     "ts": "1715900070.000300"},
    {"type": "message", "user": "U2", "text": "je réponds", "ts": "1715900080.000400",
     "thread_ts": "1715900060.000200", "parent_user_id": "U1"},
    {"type": "message", "subtype": "bot_message", "bot_id": "B1", "username": "ci", "text": "build passed",
     "ts": "1715900090.000500"},
    {"type": "message", "user": "U3", "text": "deployed", "ts": "1715900091.000500"},
    {"type": "message", "user": "U1", "text": "", "files": [{"id": "F1"}], "upload": True,
     "ts": "1715900100.000600"},
    {"type": "message", "subtype": "tombstone", "user": "USLACKBOT", "text": "This message was deleted.",
     "ts": "1715900110.000700", "hidden": True},
    {"type": "message", "user": "U1", "text": "", "attachments": [{"is_share": True, "text": "others' words"}],
     "ts": "1715900120.000800"},
    {"type": "message", "subtype": "huddle_thread", "user": "USLACKBOT", "text": "A huddle started",
     "ts": "1715900130.000900"},
]  # fmt: skip
SLACK_DIRECT = [{"type": "message", "user": "U1", "text": "רק בינינו", "ts": "1715990000.000100"}]


def chatgpt_node(key: str, parent: str | None, role: str = "", **changes) -> dict:
    """Return a node of the tree, of a text unless the changes say otherwise."""
    content = {"content_type": "text", "parts": [changes.pop("text", "")]}
    message = {
        "id": key, "author": {"role": role, "name": None, "metadata": {}}, "create_time": 1690000000.5,
        "update_time": None, "content": content, "status": "finished_successfully", "end_turn": True, "weight": 1.0,
        "metadata": {}, "recipient": "all",
    } | changes  # fmt: skip
    return {"id": key, "message": message if role else None, "parent": parent, "children": []}


CHATGPT_NODES = [
    chatgpt_node("r", None),
    chatgpt_node("s", "r", "system"),
    chatgpt_node("u0", "s", "user", text="明天下雨么"),
    chatgpt_node("a0", "u0", "assistant", text="I cannot know."),
    chatgpt_node("u1", "s", "user", text="明天下雨吗？"),
    chatgpt_node("k", "u1", "assistant", content={"content_type": "thoughts", "thoughts": [{"content": "hm"}]}),
    chatgpt_node("c", "k", "assistant", content={"content_type": "code", "text": "search()"}, recipient="web.run"),
    chatgpt_node("t", "c", "tool", content={"content_type": "execution_output", "text": "rain"}),
    chatgpt_node("a1", "t", "assistant", text="会，记得带伞。"),
    chatgpt_node("u2", "a1", "user", content={"content_type": "multimodal_text", "parts": [
        {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}, "e esta nuvem?"]}),
    chatgpt_node("a2", "u2", "assistant", text="É um cúmulo."),
    chatgpt_node("u3", "a2", "user", content={"content_type": "multimodal_text", "parts": [
        {"content_type": "image_asset_pointer", "asset_pointer": "file-service://y"}]}),
    chatgpt_node("a3", "u2", "assistant", text="Um cirro, talvez?"),
]  # fmt: skip


def chatgpt_conversation(nodes: list, leaf: str | None, title: str | None = "天气") -> dict:
    return {
        "title": title,
        "create_time": 1690000000.0,
        "update_time": 1690000100.0,
        "mapping": {node["id"]: node for node in nodes},
        "moderation_results": [],
        "current_node": leaf,
        "conversation_id": f"id-{len(nodes)}",
        "id": f"id-{len(nodes)}",
    }


CHATGPT = [
    chatgpt_conversation(CHATGPT_NODES, "u3"),
    chatgpt_conversation([chatgpt_node("q", None, "user", text="oi")], None),
]
SHAREGPT = [
    {"id": "kw1", "conversations": [
        {"from": "system", "value": "Be terse."},
        {"from": "human", "value": "Où est le chat ?"},
        {"from": "gpt", "value": "Sur le toit."},
        {"from": "tool", "value": "{}"},
    ]},
    {"conversations": [{"from": "Wanjiru", "value": "Habari ya asubuhi"}, {"from": "gpt", "value": ""}]},
]  # fmt: skip
OPENAI = [
    {"messages": [
        {"role": "developer", "content": "You are Mira."},
        {"role": "user", "content": [{"type": "text", "text": "สวัสดี"}, {"type": "text", "text": "ว่าไง"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
        {"role": "tool", "tool_call_id": "1", "content": "12"},
        {"role": "assistant", "content": "สิบสอง"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},
        {"role": "user", "name": "Dao", "content": "ขอบคุณ"},
    ]},
    {"messages": [{"role": "user", "content": "hi"}]},
]  # fmt: skip
SILLYTAVERN = [
    {"user_name": "Jisoo", "character_name": "Seraphina", "create_date": "2023-6-19 @14h 02m 00s 1ms",
     "chat_metadata": {"note_prompt": ""}},
    {"name": "Seraphina", "is_user": False, "is_system": False, "send_date": "June 19, 2023 2:20pm",
     "mes": "*She looks up.* Welcome back.", "swipe_id": 1, "swipes": ["Hi.", "*She looks up.* Welcome back."]},
    {"name": "Jisoo", "is_user": True, "is_system": False, "send_date": "2023-6-19 @14h 21m 5s 250ms",
     "mes": "안녕 🌿"},
    {"name": "Seraphina", "is_user": False, "is_system": False, "send_date": 1687184500000, "mes": ""},
    {"name": "System", "is_user": False, "is_system": True, "send_date": "2023-06-19T14:23:00.000Z",
     "mes": "Chat renamed."},
    {"name": "Narrator", "is_user": False, "send_date": "2023-06-19@14h24m00s", "mes": "Night falls.",
     "extra": {"type": "narrator"}},
    {"is_user": True, "send_date": "", "mes": "잘 자"},
]  # fmt: skip


def lines(records: list) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def pretty(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


SAMPLES: dict[str, dict[str, str]] = {
    "telegram": {"result.json": pretty(TELEGRAM)},
    "discord": {"general.json": pretty(DISCORD)},
    "instagram": {
        "message_1.json": as_meta_writes(instagram_chat(INSTAGRAM_MESSAGES)),
        "message_2.json": as_meta_writes(instagram_chat(INSTAGRAM_OLDER)),
    },
    "slack": {
        "users.json": pretty(SLACK_USERS),
        "channels.json": pretty([{"id": "C9", "name": "général"}]),
        "dms.json": pretty([{"id": "D5", "members": ["U1", "U2"]}]),
        "général/2024-05-16.json": pretty(SLACK_DAY),
        "D5/2024-05-17.json": pretty(SLACK_DIRECT),
    },
    "chatgpt": {"conversations.json": json.dumps(CHATGPT)},
    "sharegpt": {"kept.jsonl": lines(SHAREGPT)},
    "openai": {"train.jsonl": lines(OPENAI)},
    "sillytavern": {"Seraphina - 2023-6-19.jsonl": lines(SILLYTAVERN)},
}
