"""What WhatsApp itself writes into a chat: English, German, Spanish, French, Portuguese, Italian and Dutch."""

import re

EDITED = (
    "This message was edited|Diese Nachricht wurde bearbeitet|Se editó este mensaje|Este mensaje fue editado"
    "|Ce message a été modifié|Mensagem editada|Esta mensagem foi editada|Questo messaggio è stato modificato"
    "|Dit bericht is bewerkt|Dit bericht is bijgewerkt"
)
_ANY_SPACE = "[ \u00a0\u202f]"
_OMITTED = (
    "omitted|weggelassen|ausgelassen|ausgeschlossen|omitid[oa]s?|absente?s?|omi[st]e?s?|retirée?s?|ocultad[oa]s?|oculta"
    "|omess[oaie]|esclus[oaie]|weggelaten|não revelado"
)
_MEDIA_NOUNS = (
    "media|medien|multimedia|archivos?|médias|mídia|ficheiro|image|video note|video|audio|sticker|gif|document"
    "|contact card|voice message|bild|videonachricht|dokument|kontaktkarte|sprachnachricht|imagen|vídeo|documento"
    "|tarjeta de contacto|nota de video|vidéo|carte de contact|fiche contact|message vocal|imagem|áudio"
    "|figurinha|cartão de contato|cartão de contacto|immagine|scheda contatto|afbeelding|visitekaartje|contactkaart"
    "|spraakbericht"
)
_ATTACHED = (
    "file attached|Datei angehängt|archivo adjunto|fichier joint|arquivo anexado|ficheiro anexado|file allegato"
    "|bestand bijgevoegd"
)
_ENDINGS = "jpe?g|png|webp|mp4|opus|m4a|mp3|pdf|vcf|docx?|xlsx?|pptx?|zip|txt|3gp|gif|aac|heic|mov|was"
_PLACES = (
    "location|live location shared|standort|live-standort wird geteilt|ubicación|ubicación en tiempo real compartida"
    "|localisation|localização|posizione|locatie"
)
_POLLS = "POLL|UMFRAGE|ENCUESTA|SONDAGE|ENQUETE|SONDAGEM|SONDAGGIO|PEILING"
_DELETED = (
    "This message was deleted(?: by admin .*)?|You deleted this message(?: as admin)?|Message deleted"
    "|Diese Nachricht wurde (?:von Admin .* )?gelöscht|Du hast diese Nachricht(?: als Admin)? gelöscht"
    "|Se eliminó este mensaje|Este mensaje fue eliminado|Eliminaste este mensaje|Mensaje eliminado"
    "|Ce message a été supprimé|Vous avez supprimé ce message|Message supprimé"
    "|Mensagem apagada|Esta mensagem foi (?:apagada|eliminada)|Você apagou esta mensagem|Apagou esta mensagem"
    "|Eliminou esta mensagem|Questo messaggio è stato eliminato|Hai eliminato questo messaggio|Messaggio eliminato"
    "|Dit bericht is verwijderd|(?:U hebt|Je hebt|Jij hebt) dit bericht verwijderd|Bericht verwijderd"
)
_CALLS = (
    "(?:Missed )?(?:group )?(?:voice|video) call|Missed (?:group )?call|Silenced (?:voice|video) call"
    "|(?:Verpasster )?(?:Gruppen-?)?(?:Sprach|Video)anruf|Verpasster Anruf"
    "|Llamada perdida|(?:Llamada de voz|Videollamada|Llamada de video)(?: grupal)?(?: perdida)?"
    "|(?:Appel (?:vocal|vidéo|audio))(?: de groupe)?(?: manqué)?|Appel manqué"
    "|(?:Chamada|Ligação)(?: de (?:voz|vídeo))?(?: em grupo)? perdida|(?:Chamada|Ligação) de (?:voz|vídeo)"
    "|Chiamata(?: vocale)?(?: di gruppo)? persa|Videochiamata(?: di gruppo)?(?: persa)?|Chiamata vocale"
    "|(?:Gemiste )?(?:groeps)?(?:spraak|audio|video)-?oproep|Gemiste oproep"
)
_AFTER_A_CALL = (
    "No answer|Tap to call back|Keine Antwort|Zum Zurückrufen tippen|Tippen, um zurückzurufen|Sin respuesta"
    r"|Toca para devolver la llamada|Pas de réponse|Touchez pour rappeler|Não atendida|Sem resposta"
    r"|Toque para ligar de volta|Nessuna risposta|Tocca per richiamare|Geen antwoord|Tik om terug te bellen"
)
_CLOCK = r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?: ?[ap]\.? ?m\.?)?"
_AMOUNT = (
    r"\d+ ?(?:s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|Sek|Sekunden?|Min|Minuten?|Std|Stunden?|segs?|segundos?"
    r"|minutos?|horas?|secondes?|heures?|second[io]|minut[io]|or[ae]|seconden?|minuut|minuten|uur|uren)\.?"
)
_LASTED = rf"(?:\d+(?::\d\d)+|{_AMOUNT}(?:(?:,| and| und| y| et| e| en)? {_AMOUNT})*)(?: • \d.{{1,40}})?"
_WAITING = (
    "Waiting for this message|Warte auf diese Nachricht|Esperando este mensaje|Esperando el mensaje"
    "|En attente de ce message|Aguardando mensagem|A aguardar esta mensagem|In attesa del messaggio"
    "|In attesa di questo messaggio|Wachten op dit bericht"
)
# Said of the chat itself, in lines that hold ": " or stand under somebody's name
_NOTICES = (
    r"end-to-end encrypted\.|Ende-zu-Ende-verschlüsselt\.|cifrad[oa]s? de extremo a extremo"
    r"|chiffrés de bout en bout|criptografi(?:a|adas) de ponta a ponta|encriptad[oa]s ponto a ponto"
    r"|crittografat[ie] end-to-end|(?:end-to-end )?versleuteld\.? (?:Niemand|Alleen)"
)
_ABOUT = (
    "messages|your messages|this chat|nachrichten|deine nachrichten|los mensajes|tus mensajes|les messages"
    "|vos messages|as mensagens|suas mensagens|i messaggi|i tuoi messaggi|berichten|je berichten"
)
_SUBJECT = (
    "changed the (?:subject|group name|group description)|hat den (?:Betreff|Gruppennamen|Namen der Gruppe)"
    "|cambió (?:el asunto|el nombre)|a changé (?:le sujet|l'objet|le nom)|mudou o (?:assunto|nome)|alterou o nome"
    "|ha (?:cambiato|modificato) (?:l'oggetto|il nome)|heeft (?:het onderwerp|de groepsnaam)"
    "|created (?:this )?group|hat die Gruppe .*erstellt|creó (?:el|este) grupo|a créé (?:le|ce) groupe"
    "|criou (?:o|este) grupo|ha creato (?:il|questo) gruppo|heeft (?:de|deze) groep .*gemaakt"
)
_Q = "[\"“”„«»‘’']"


def _whole(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(" ", _ANY_SPACE), re.IGNORECASE)


_MEDIA = _whole(
    rf"(?:(?:{_MEDIA_NOUNS}) (?:{_OMITTED})|<[^\W\d_][^<>\n]{{2,80}} [^<>\n]{{2,80}}>"
    rf"|.{{1,200}}\.(?:{_ENDINGS}) \((?:{_ATTACHED})\)|(?:IMG|VID|AUD|PTT|STK|DOC)-\d{{8}}-WA\d{{4,}}\.\w+"
    rf" \(.{{3,40}}\)|.{{1,200}} • .{{1,40}} (?:{_MEDIA_NOUNS}) (?:{_OMITTED})|(?:{_PLACES}) ?:? ?(?:\(.*\) ?)?https?://(?=\S*maps)\S*"
    rf"|(?:{_PLACES}) ?: -?\d.*|live location shared|null)"
)
_POLL = re.compile(rf"(?:{_POLLS}) ?:(?:\n|$)")  # in capitals
_DELETED_WHOLE = _whole(rf"(?:{_DELETED})\.?")
_CALL_WHOLE = _whole(
    rf"(?:{_CALLS})(?: ?[.,·] ?(?:{_LASTED}|{_AFTER_A_CALL}))?\.?|(?:Missed|Silenced) .{{0,12}}call at {_CLOCK}\.?"
)
_WAITING_WHOLE = _whole(rf"(?:{_WAITING})[.,].{{0,80}}")
_NOTICE = _whole(rf"[^:\n]{{0,80}}(?:{_SUBJECT})\b.{{0,20}}(?:{_Q}|:|$)")
_ENCRYPTED = _whole(rf"(?:[^:\n]{{1,100}}: )?\W*(?:{_ABOUT})\b.{{0,120}}(?:{_NOTICES})")


def is_media(line: str) -> bool:
    """Return whether a line stands for a picture, a file, a place or the like."""
    return _MEDIA.fullmatch(line.replace("\u200e", "").strip()) is not None


def is_call(text: str) -> bool:
    """Return whether this is all that is said of a call."""
    return _CALL_WHOLE.fullmatch(text.replace("\u200e", "").strip()) is not None


def is_notice(text: str) -> bool:
    """Return whether a line that may look like somebody's is said of the chat itself."""
    return _NOTICE.match(text) is not None or _ENCRYPTED.match(text) is not None


REASONS = {
    "deleted": lambda text: _DELETED_WHOLE.fullmatch(text) is not None,
    "call": is_call,
    "media": lambda text: _POLL.match(text) is not None,
    "system line": lambda text: _WAITING_WHOLE.fullmatch(text) is not None,
}
