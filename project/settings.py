"""Django settings: complete without any environment (SQLite and a broker inside the process), production by it."""

from __future__ import annotations

from pathlib import Path

from durable_objects import celery_settings
from durable_objects.http.body_limit import MAX_BODY_BYTES
from project.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"
_environment = Environment(VAR_DIR)

DEBUG = _environment.debug
SECRET_KEY = _environment.secret_key()
SECRET_KEY_FALLBACKS = _environment.secret_key_fallbacks()
ALLOWED_HOSTS = _environment.allowed_hosts()
LOGIN_FAILURE_RATE = _environment.rate("LOGIN_FAILURE_RATE", "10/m")
PORT = _environment.port()

# One dict per app; durable_objects.conf and each app's own conf.py name the keys and their defaults.
DURABLE_OBJECTS: dict[str, object] = {}
BATCHER: dict[str, object] = {}
CLEANER: dict[str, object] = {}
REMINDERS: dict[str, object] = {}
DURABLE_OBJECTS_HTTP: dict[str, object] = {
    "TOKENS": _environment.api_tokens(),
    "RATE": _environment.rate("API_RATE", "5000/s"),
    "FAILURE_RATE": _environment.rate("API_FAILURE_RATE", "60/m"),
    # The interface is mounted at the root, around these.
    "PAGES": ["/", "/favicon.ico", "/admin/", "/static/", "/remind/"],
}

INSTALLED_APPS = [
    "project.admin_config.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "durable_objects",
    "durable_objects.http",
    "batcher",
    "cleaner",
    "reminders",
    "project",
]
MIDDLEWARE = [
    "durable_objects.http.errors.ErrorsAsJson",
    "durable_objects.http.audit.AuditLog",
    "project.csp.ContentSecurityPolicy",
    "django.middleware.security.SecurityMiddleware",
    "project.static_files.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "durable_objects.admin.zones.OperatorZone",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "durable_objects.http.control_characters.ControlCharactersShown",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "project.urls"
DATABASES = {"default": _environment.database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LANGUAGE_CODE = "en-us"
USE_I18N = True
USE_TZ = True
TIME_ZONE = _environment.time_zone()

# In production browsers come by HTTPS only. Whether a whole domain does, with all below it, is its owner's to say.
_https = _environment.https()
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SECURE_REDIRECT_EXEMPT = [r"^(health|ready|live)$"]  # asked by the machine that runs us, past any proxy
SECURE_HSTS_SECONDS = 3600 if _https else 0
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if _environment.behind_proxy():
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# No body is larger than durable_objects.http.body_limit allows, and none is written to disk.
DATA_UPLOAD_MAX_MEMORY_SIZE = FILE_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES + 1
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]

# Admin's own files are served from the installed packages: no collectstatic, no folder to keep.
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_ROOT = BASE_DIR / "project" / "root"  # /favicon.ico

CELERY_BROKER_URL = _environment.broker_url()
CELERY_TASK_DEFAULT_QUEUE = "alarms"  # no other tasks
CELERY_TIMEZONE = "UTC"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Celery closes Django's connections around every task unless it may reuse them this often. durable_objects checks
# before each task whether the connection still works.
CELERY_DB_REUSE_MAX = 1_000_000
globals().update(celery_settings(CELERY_BROKER_URL, globals()))

# What opens something is on no error page.
DEFAULT_EXCEPTION_REPORTER = "project.error_pages.Reporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "project.error_pages.Filter"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {
            "()": "durable_objects.logs.LineFormatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {"django": {"handlers": [], "propagate": True}}
    | {app: {"level": "INFO"} for app in ("durable_objects", "batcher", "cleaner", "reminders", "project")}
    | {client: {"level": "WARNING"} for client in ("httpx", "httpcore")},  # at INFO they write whole URLs down
}
