"""WhatsApp's chats, from Android and iOS, in the languages of the phones that wrote them."""

import time
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idl_hf.corpora.errors import MALFORMED, CorpusError, ErrorLog
from idl_hf.corpora.exports.whatsapp import found, read

# By locale: what is in the file, and of each message (speaker, text, time, dropped)
ENGLISH_ANDROID = (
    "1/13/24, 9:05\u202fPM - Messages and calls are end-to-end encrypted. No one outside of this chat, not even "
    "WhatsApp, can read or listen to them. Tap to learn more.\n"
    "1/13/24, 9:05\u202fPM - Ann: back home\nand the tea is cold: again\n"
    "1/13/24, 9:06\u202fPM - Ben Okafor: <Media omitted>\n"
    "1/13/24, 12:07\u202fAM - Ben Okafor: IMG-20240113-WA0003.jpg (file attached)\nlook at this\n"
    "1/13/24, 12:08\u202fPM - Ann: This message was deleted\n"
    "1/14/24, 9:08\u202fPM - Ben Okafor: at nine <This message was edited>\n"
    "1/14/24, 9:09\u202fPM - Missed voice call\n"
    '1/14/24, 9:10\u202fPM - Ann changed the subject from "Lake" to "Trip: the lake"\n'
    "1/14/24, 9:11\u202fPM - +44 7700 900123: who is this?\n"
)
ENGLISH_IOS = (
    "\ufeff[1/13/24, 9:05:33\u202fPM] Ben: \u200eMessages and calls are end-to-end encrypted. Only people in this "
    "chat can read, listen to, or share them.\r\n"
    "[1/13/24, 9:05:34\u202fPM] ~\u202fAnn: hi\r\n"
    "\u200e[1/13/24, 9:06:00\u202fPM] Ben: \u200eimage omitted\r\n"
    "[1/13/24, 9:06:01\u202fPM] Ben: two\r\nlines \u200e<This message was edited>\r\n"
    "\u200e[1/13/24, 9:06:02\u202fPM] Ben: the lake \u200e<attached: 00000004-PHOTO-2024-01-13-21-06-02.jpg>\r\n"
    "[1/13/24, 9:06:03\u202fPM] Ann: \u200eYou deleted this message.\r\n"
    "[1/13/24, 9:06:04\u202fPM] Ben: \u200eMissed voice call. \u200eTap to call back\r\n"
    "[1/13/24, 9:06:05\u202fPM] Ben: \u200eplan.pdf • \u200e3 pages \u200edocument omitted\r\n"
    "[1/13/24, 9:06:06\u202fPM] Ben: \u200eBen turned on disappearing messages.\r\n"
    "[1/13/24, 9:06:07\u202fPM] \u202a+44 7700 900123\u202c: @\u2068Ann\u2069 hello\r\n"
)
GERMAN = (
    "13.01.24, 21:05 - Nachrichten und Anrufe sind Ende-zu-Ende-verschlüsselt. Niemand außerhalb dieses Chats kann "
    "sie lesen oder anhören, nicht einmal WhatsApp. Tippe, um mehr zu erfahren.\n"
    "13.01.24, 21:05 - Jürgen Groß: na, schon da?\n"
    "13.01.24, 21:06 - Ann: <Medien ausgeschlossen>\n"
    "13.01.24, 21:07 - Ann: Diese Nachricht wurde gelöscht.\n"
    "13.01.24, 21:08 - Verpasster Sprachanruf\n"
    "13.01.24, 21:09 - Ann: gleich <Diese Nachricht wurde bearbeitet.>\n"
    "13.01.24, 21:10 - Jürgen Groß: IMG-20240113-WA0001.jpg (Datei angehängt)\n"
)
SPANISH = (
    "13/1/24, 9:05 p.\u00a0m. - Los mensajes y las llamadas están cifrados de extremo a extremo. Nadie fuera de este "
    "chat, ni siquiera WhatsApp, puede leerlos ni escucharlos. Toca para obtener más información.\n"
    "13/1/24, 9:05 p.\u00a0m. - Ana: ¿vienes?\n"
    "13/1/24, 9:06 p.\u00a0m. - Núria: <Multimedia omitido>\n"
    "13/1/24, 9:07 p.\u00a0m. - Núria: Se eliminó este mensaje.\n"
    "13/1/24, 9:08 p.\u00a0m. - Llamada perdida\n"
    "13/1/24, 9:09 p.\u00a0m. - Núria: ya voy <Se editó este mensaje.>\n"
)
FRENCH = (
    "13/01/2024, 21:05 - Les messages et les appels sont chiffrés de bout en bout. Aucun tiers, pas même WhatsApp, "
    "ne peut les lire ou les écouter. Appuyez pour en savoir plus.\n"
    "13/01/2024, 21:05 - Élodie: ça va\u202f?\n"
    "13/01/2024 à 21:06 - Ann: <Médias omis>\n"
    "13/01/2024, 21:07 - Ann: Ce message a été supprimé\n"
    "13/01/2024, 21:08 - Appel vocal manqué\n"
    "13/01/2024, 21:09 - Ann: oui <Ce message a été modifié>\n"
)
PORTUGUESE = (
    "13/01/2024 21:05 - As mensagens e as chamadas são protegidas com a criptografia de ponta a ponta e ficam somente "
    "entre você e os participantes desta conversa. Nem mesmo o WhatsApp pode ler ou ouvi-las. Toque para saber mais.\n"
    "13/01/2024 21:05 - João: cê vem?\n"
    "13/01/2024 21:06 - Ana: <Mídia oculta>\n"
    "13/01/2024 21:07 - Ana: Mensagem apagada\n"
    "13/01/2024 21:08 - Chamada de voz perdida\n"
    "13/01/2024 21:09 - Ana: vou <Mensagem editada>\n"
)
ITALIAN = (
    "13/01/24, 21:05 - I messaggi e le chiamate sono crittografati end-to-end. Nessuno al di fuori di questa chat, "
    "nemmeno WhatsApp, può leggerne o ascoltarne il contenuto. Tocca per saperne di più.\n"
    "13/01/24, 21:05 - Niccolò: arrivi?\n"
    "13/01/24, 21:06 - Ann: <Media omessi>\n"
    "13/01/24, 21:07 - Ann: Questo messaggio è stato eliminato\n"
    "13/01/24, 21:08 - Chiamata vocale persa\n"
    "13/01/24, 21:09 - Ann: sì <Questo messaggio è stato modificato>\n"
)
DUTCH = (
    "13-01-2024 21:05 - Berichten en oproepen worden end-to-end versleuteld. Niemand buiten deze chat kan ze lezen of "
    "beluisteren, zelfs WhatsApp niet. Tik voor meer informatie.\n"
    "13-01-2024 21:05 - Daniël: kom je?\n"
    "13-01-2024 21:06 - Ann: <Media weggelaten>\n"
    "13-01-2024 21:07 - Ann: Dit bericht is verwijderd\n"
    "13-01-2024 21:08 - Gemiste spraakoproep\n"
    "13-01-2024 21:09 - Ann: ja <Dit bericht is bewerkt>\n"
)
KOREAN_IOS = "[2024. 1. 13. 오후 9:05:33] 지민: 안녕\n[2024. 1. 14. 오전 12:05:33] 하늘: 응\n"
LOCALES = {
    "English Android": (ENGLISH_ANDROID, [
        ("", "", "21:05", "system line"), ("Ann", "back home\nand the tea is cold: again", "21:05", ""),
        ("Ben Okafor", "", "21:06", "media"), ("Ben Okafor", "look at this", "00:07", ""),
        ("Ann", "", "12:08", "deleted"), ("Ben Okafor", "at nine", "21:08", ""), ("", "", "21:09", "call"),
        ("", "", "21:10", "system line"), ("+44 7700 900123", "who is this?", "21:11", ""),
    ]),
    "English iOS": (ENGLISH_IOS, [
        ("", "", "21:05", "system line"), ("Ann", "hi", "21:05", ""), ("Ben", "", "21:06", "media"),
        ("Ben", "two\nlines", "21:06", ""), ("Ben", "the lake", "21:06", ""), ("Ann", "", "21:06", "deleted"),
        ("Ben", "", "21:06", "call"), ("Ben", "", "21:06", "media"), ("Ben", "", "21:06", "system line"),
        ("+44 7700 900123", "@\u2068Ann\u2069 hello", "21:06", ""),
    ]),
    "German": (GERMAN, [
        ("", "", "21:05", "system line"), ("Jürgen Groß", "na, schon da?", "21:05", ""), ("Ann", "", "21:06", "media"),
        ("Ann", "", "21:07", "deleted"), ("", "", "21:08", "call"), ("Ann", "gleich", "21:09", ""),
        ("Jürgen Groß", "", "21:10", "media"),
    ]),
    "Spanish": (SPANISH, [
        ("", "", "21:05", "system line"), ("Ana", "¿vienes?", "21:05", ""), ("Núria", "", "21:06", "media"),
        ("Núria", "", "21:07", "deleted"), ("", "", "21:08", "call"), ("Núria", "ya voy", "21:09", ""),
    ]),
    "Korean iOS": (KOREAN_IOS, [("지민", "안녕", "21:05", ""), ("하늘", "응", "00:05", "")]),
    **{
        name: (text, [
            ("", "", "21:05", "system line"), (other, said, "21:05", ""), (own, "", "21:06", "media"),
            (own, "", "21:07", "deleted"), ("", "", "21:08", "call"), (own, answer, "21:09", ""),
        ])
        for name, text, other, said, own, answer in (
            ("French", FRENCH, "Élodie", "ça va\u202f?", "Ann", "oui"),
            ("Portuguese", PORTUGUESE, "João", "cê vem?", "Ana", "vou"),
            ("Italian", ITALIAN, "Niccolò", "arrivi?", "Ann", "sì"),
            ("Dutch", DUTCH, "Daniël", "kom je?", "Ann", "ja"),
        )
    },
}  # fmt: skip


@pytest.fixture
def chat(tmp_path):
    """Writes a chat and returns its path."""

    def write(content: str | bytes, name: str = "WhatsApp Chat with Ben.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def messages(path: Path, log: ErrorLog | None = None, **options: str):
    return list(read(path, log or ErrorLog(), **options))


@pytest.mark.parametrize("locale", LOCALES)
def test_each_locale_is_read(chat, locale):
    content, expected = LOCALES[locale]
    path = chat(content)
    assert found(path)
    made = messages(path)
    assert [(m.speaker, m.text, f"{m.time:%H:%M}", m.dropped) for m in made] == expected
    assert {m.time.date().isoformat()[:8] for m in made} == {"2024-01-"}
    assert {m.conversation for m in made} == {"Ben"}


def test_a_message_stands_where_its_first_line_does(chat):
    assert [m.place for m in messages(chat(ENGLISH_ANDROID))][:3] == [
        f"WhatsApp Chat with Ben.txt:{line}" for line in (1, 2, 4)
    ]


@pytest.mark.parametrize("name", ["_chat.txt", "WhatsApp Chat with Ben.txt", "Ann und Ben.txt"])
def test_the_chat_in_an_archive_is_read(tmp_path, name):
    path = tmp_path / "WhatsApp Chat - Family.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("00000004-PHOTO.jpg", b"\xff\xd8")
        archive.writestr("notes.vcf", "Ann")
        archive.writestr(name, GERMAN)
    assert found(path)
    assert [m.text for m in messages(path) if m.text] == ["na, schon da?", "gleich"]
    assert {m.conversation for m in messages(path)} == {"Family"}


def test_an_archive_without_one_chat_is_told_by_what_it_holds(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
        archive.writestr("b.txt", "b")
    assert not found(path)
    with pytest.raises(CorpusError, match=r"a\.zip: Expected one chat, as _chat\.txt .*, found a\.txt, b\.txt\."):
        messages(path)


# Day, month and year


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (("13/01/2024", "01/02/2024"), "2024-02-01"),  # no month has the number 13
        (("01/13/2024", "02/01/2024"), "2024-02-01"),
        (("01/02/2024", "02/02/2024", "01/03/2024"), "2024-03-01"),  # months would run back
        (("02/01/2024", "02/02/2024", "03/01/2024"), "2024-03-01"),
        (("01.02.24", "02.02.24"), "2024-02-02"),  # nobody writes month.day
        (("2024-02-01", "2024-02-03"), "2024-02-03"),
        (("2024/2/1", "2024/2/13"), "2024-02-13"),
    ],
)
def test_the_order_of_dates_is_told_from_all_of_the_file(chat, dates, expected):
    made = messages(chat("".join(f"{date}, 21:05 - Ann: hi\n" for date in dates)))
    assert made[-1].time.date().isoformat() == expected


def test_the_order_of_dates_is_asked_for_where_the_file_does_not_tell(chat):
    path = chat("03/04/24, 21:05 - Ann: hi\n04/04/24, 21:05 - Ben: hi\n")
    with pytest.raises(CorpusError) as error:
        messages(path)
    assert str(error.value) == (
        f"The dates of '{path}', such as 03/04/24, 21:05, can be day/month/year or month/day/year. "
        "Pass --date_order dmy or mdy."
    )
    assert [m.time for m in messages(path, date_order="mdy")] == [
        datetime(2024, 3, 4, 21, 5),
        datetime(2024, 4, 4, 21, 5),
    ]
    assert messages(path, date_order="dmy")[0].time == datetime(2024, 4, 3, 21, 5)
    with pytest.raises(ValueError, match=r"--date_order 'ydm' is unknown\. Expected dmy, mdy, ymd\."):
        messages(path, date_order="ydm")


# What people write


@pytest.mark.parametrize(
    "text",
    [
        "Video call?", "i missed your voice call yesterday", "this message was deleted by whom", "<3", "media: none",
        "is that end-to-end encrypted. no idea", "location: the lake", "image omitted from the book?", "sticker",
        "12/01/24 was a friday", "a: b: c", "null and void", "I changed the subject: sorry",
        "Video call at 8 tonight?", "Voice call, 8pm works for me", "Video call, 8pm", "Missed voice call at noon",
        "Video call, 8 tonight", "Video call at 8:30",
    ],
)  # fmt: skip
def test_what_people_write_stays(chat, text):
    path = chat(f"13/01/24, 21:05 - Ann: {text}\n14/01/24, 21:05 - Ben: hi\n")
    assert [(m.speaker, m.text) for m in messages(path)] == [("Ann", text), ("Ben", "hi")]


@pytest.mark.parametrize(
    "text",
    ["Voice call, 5 min", "Video call, 1 hr 5 min", "Voice call, 40 sec", "Missed voice call at 9:05\u202fPM",
     "Llamada de voz, 12 segundos", "Videoanruf, 1 Std. 2 Min.", "Video call, 1:05",
     "Sprachanruf, 1 Std., 2 Min.", "Llamada de voz, 1 h y 5 min", "Voice call, 5 min • 3 joined",
     "Missed voice call at 9:05:33 PM", "Video call, 1 hr, 5 min"],
)  # fmt: skip
def test_what_is_said_of_a_call_is_left_out(chat, text):
    path = chat(f"13/01/24, 21:05 - Ann: {text}\n14/01/24, 21:05 - Ben: hi\n")
    assert [m.dropped for m in messages(path)] == ["call", ""]


@pytest.mark.parametrize(
    ("written", "minute"),
    [
        ("13\u200f/1\u200f/2024, 9:05 م -", 1265), ("١٣\u200f/١\u200f/٢٠٢٤، ٩:٠٥ م -", 1265),
        ("13.1.2024 klo 21.05 -", 1265), ("13.01.24 г., 21:05 ч. -", 1265), ("13/01/2024, 9:05 PTG -", 1265),
        ("2024-01-13 21 h 05 -", 1265), ("13.1.2024, 9:05 m.d. -", 1265), ("2024/01/13 午後0:05 -", 725),
        ("2024/01/13 午前0:05 -", 5), ("2024/1/13 中午11:30 -", 690), ("2024/1/13 中午12:30 -", 750),
        ("2024/1/13 清晨5:30 -", 330),
    ],
)  # fmt: skip
def test_clocks_of_many_languages_are_read(chat, written, minute):
    (message,) = messages(chat(f"{written} Ann: hi\n"), date_order="ymd" if written.startswith("2024") else "dmy")
    assert (message.speaker, message.text) == ("Ann", "hi")
    assert message.time == datetime(2024, 1, 13) + timedelta(minutes=minute)


def test_a_long_run_of_marks_takes_no_time(chat):
    begin = time.process_time()
    with pytest.raises(CorpusError):
        messages(chat("1/1/24" + "\u200e" * 100_000 + "\n"))
    assert time.process_time() - begin < 2


def test_a_line_whose_date_is_none_is_counted(chat):
    path, log = chat("1/04/24, 21:00 - Ann: yo\n13/04/24, 21:02 - Ben: secret\n2/04/24, 21:00 - Ben: hi\n"), ErrorLog()
    assert [m.text for m in read(path, log, date_order="mdy")] == ["yo\n13/04/24, 21:02 - Ben: secret", "hi"]
    (count,) = log.notes.values()
    assert count == 1


def test_a_quoted_line_of_another_phone_is_part_of_the_text(chat):
    path = chat("13/01/24, 21:05 - Ann: look:\n[13.01.24, 21:05:33] Ben: hello\n99/99/24, 21:06 - Ben: no date\n")
    (message,) = messages(path)
    assert message.text == "look:\n[13.01.24, 21:05:33] Ben: hello\n99/99/24, 21:06 - Ben: no date"


# Anything else


def test_lines_before_the_first_message_are_reported(chat):
    path, log = chat("Chat with Ben\n\n13/01/24, 21:05 - Ann: hi\n"), ErrorLog("skip")
    assert [m.text for m in messages(path, log)] == ["hi"]
    assert log.drops == {MALFORMED: 1}
    assert log.messages == [f"{path}:1: Expected a line that begins with a time, found 'Chat with Ben'."]


def test_bytes_that_are_no_text_are_replaced_and_noted(chat):
    log = ErrorLog()
    (message,) = messages(chat(b"13/01/24, 21:05 - Ann: caf\xe9\n"), log)
    assert message.text == "caf\ufffd"
    assert log.notes.total() == 1


@pytest.mark.parametrize("content", ["", "hello\n", '{"messages": []}', "speaker,text\nann,hi\n"])
def test_another_file_is_none(chat, content):
    path = chat(content)
    assert not found(path)
    with pytest.raises(CorpusError, match="Expected lines as"):
        messages(path)


def test_neither_a_folder_nor_a_file_that_is_not_there_is_found(tmp_path):
    assert not found(tmp_path)
    assert not found(tmp_path / "none.txt")


LINES = st.text(st.sampled_from("abé ?:-[]<>/,.\u200d\U0001f600"), max_size=12)


@given(
    st.lists(
        st.tuples(st.sampled_from(("Ann", "Ben Okafor", "+44 7700 900123")), st.lists(LINES, min_size=1, max_size=4))
    ),
    st.sampled_from((("{:%d/%m/%Y, %H:%M} - ", "dmy"), ("[{:%m/%d/%y, %I:%M:%S\u202f%p}] ", "mdy"))),
    st.sampled_from(("\n", "\r\n")),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_as_a_phone_does_is_read_back(chat, said, style, end):
    head, order = style
    begin = datetime(2024, 1, 1, 11, 30)
    written = [(head.format(begin + timedelta(hours=i)), speaker, lines) for i, (speaker, lines) in enumerate(said)]
    text = "".join(f"{time}{speaker}: {end.join(lines)}{end}" for time, speaker, lines in written)
    made = messages(chat(text), date_order=order) if said else []
    assert len(made) == len(said)
    for i, (message, (speaker, lines)) in enumerate(zip(made, said, strict=True)):
        assert (message.speaker, message.time) == (speaker, begin + timedelta(hours=i))
        assert message.dropped or message.text == "\n".join(lines)
        assert message.dropped in ("", "media" if any("<" in line for line in lines) else "empty")
        assert message.text.strip() or message.dropped


@pytest.mark.parametrize("text", ["a" + " " * 40_000 + "b", "location https://" + "maps" * 10_000 + " x"])
def test_a_long_run_of_one_thing_takes_no_time(chat, text):
    path = chat(f"13/01/24, 21:05 - Ann: {text}\n")
    begin = time.process_time()
    assert [message.text for message in messages(path)] == [text]
    assert time.process_time() - begin < 2
