"""Channel "email": Django's mail, text and HTML, one mail for each address, with a Message-ID made from the key."""

from __future__ import annotations

import smtplib
from email.utils import parseaddr

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.template.loader import render_to_string

from durable_objects import outgoing
from reminders.channels import Message, Refused, register
from reminders.conf import defaults
from reminders.tables import Recipient

#: About our login at the server, not about this mail: for us to mend, and tried again meanwhile.
_OF_OUR_LOGIN = {530, 534, 535, 538}


class MailFailed(Exception):
    """The mail backend reports that it sent nothing; it is tried again."""


def addresses(person: str) -> list[str]:
    """Return the recipient's own address, else those of ``EMAIL_TO``."""
    own = Recipient.find(person).email
    return [own] if own else list(defaults.EMAIL_TO)


@register("email", addresses=addresses)
def send(message: Message) -> str:
    """Send to the one address; return to whom it went.

    A mail server may deliver what it has answered with an error, so a mail can come twice: with one Message-ID, by
    which mail programs show it once. Raises ``Refused`` where the server says for good that it does not take this mail
    (any 5xx to its sender, its address or its content), or it cannot be composed. Ends within ``DEADLINE``.
    """
    if not message.to:
        person = f"person {message.person!r}" if message.person else "a reminder without a person"
        raise Refused(f"no e-mail address for {person}: enter one under Recipients in admin, or set EMAIL_TO")
    try:
        mail = _mail(message)
        count = outgoing.bounded(_origin(mail), defaults.DEADLINE, lambda call: _send(mail))
    except smtplib.SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()))
        raise _refused(message.to, code, text) if code >= 500 else error from error
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        is_final = error.smtp_code >= 500 and error.smtp_code not in _OF_OUR_LOGIN
        raise _refused(message.to, error.smtp_code, error.smtp_error) if is_final else error from error
    except (smtplib.SMTPNotSupportedError, ValueError) as error:
        raise Refused(f"the mail to {message.to} cannot be sent: {error}") from error
    if not count:
        raise MailFailed(f"{settings.EMAIL_BACKEND} sent nothing to {message.to}")
    return f"handed to the mail server for {message.to}"


def message_id(key: str) -> str:
    """Return the Message-ID of every mail under this key."""
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    return f"<{key}@{domain}>"


def _mail(message: Message) -> EmailMultiAlternatives:
    mail = EmailMultiAlternatives(
        subject=message.title,
        body=render_to_string("reminders/email.txt", {"message": message}),
        to=[message.to],
        headers={"Message-ID": message_id(message.key), "Auto-Submitted": "auto-generated"},
        connection=get_connection(timeout=min(defaults.TIMEOUT, defaults.DEADLINE).total_seconds()),
    )
    mail.attach_alternative(render_to_string("reminders/email.html", {"message": message}), "text/html")
    return mail


def _send(mail: EmailMultiAlternatives) -> int:
    """Return how many were sent. A server that answers the content with any 2xx has accepted it; smtplib knows 250
    only.
    """
    try:
        return mail.send()
    except smtplib.SMTPDataError as error:
        # 250 is raised only where it came before the content.
        if 200 <= error.smtp_code < 300 and error.smtp_code != 250:
            return 1
        raise


def _origin(mail: EmailMultiAlternatives) -> str:
    """Return the server that a delivery of this mail waits for."""
    host, port = (getattr(mail.connection, name, None) for name in ("host", "port"))
    return f"smtp://{host}:{port}" if host else settings.EMAIL_BACKEND


def _refused(address: str, code: int, answer: bytes | str) -> Refused:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return Refused(f"the mail server refused the mail to {address}: {code} {text}")
