"""Channel "email": Django's mail, text and HTML, with a Message-ID made from the key."""

from __future__ import annotations

import smtplib
from email.utils import parseaddr

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.template.loader import render_to_string

from reminders.channels import Message, Refused, register
from reminders.conf import defaults
from reminders.rows import Recipient


@register("email")
def send(message: Message) -> str:
    """Send to the recipient's address, else to ``EMAIL_TO``; to whom it went.

    A mail server may deliver what it has answered with an error, so a mail can come twice: with one Message-ID, by
    which mail programs show it once. Raises ``Refused`` where the server has none of the addresses.
    """
    own = Recipient.find(message.person).email
    to = [own] if own else list(defaults.EMAIL_TO)
    if not to:
        raise Refused(f"no address for {message.person or 'nobody'!r}: enter one under Recipients, or set EMAIL_TO")
    mail = EmailMultiAlternatives(
        subject=message.title,
        body=render_to_string("reminders/email.txt", {"message": message}),
        to=to,
        headers={"Message-ID": message_id(message.key), "Auto-Submitted": "auto-generated"},
        connection=get_connection(timeout=defaults.TIMEOUT.total_seconds()),
    )
    mail.attach_alternative(render_to_string("reminders/email.html", {"message": message}), "text/html")
    try:
        mail.send()
    except smtplib.SMTPRecipientsRefused as error:
        if all(code >= 500 for code, _ in error.recipients.values()):
            raise Refused(f"the mail server has none of {', '.join(to)}: {error}") from error
        raise
    return f"handed to the mail server for {', '.join(to)}"


def message_id(key: str) -> str:
    """The Message-ID of every mail under this key."""
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    return f"<{key}@{domain}>"
