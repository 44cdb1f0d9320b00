FROM python:3.13-slim
ENV PYTHONUNBUFFERED=1
WORKDIR /site
COPY requirements/runtime.txt requirements/
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/runtime.txt
COPY . .
RUN useradd --create-home site && mkdir -p var && chown site var
USER site
CMD ["gunicorn", "project.wsgi:application", "--worker-class", "gthread", "--workers", "2", "--threads", "4", "--bind", "0.0.0.0:8000"]
