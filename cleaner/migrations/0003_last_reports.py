"""The last report of each cleaner becomes its first cleanup on record."""

from datetime import datetime

from django.db import migrations


def to_runs(apps, schema_editor):
    """A report held ISO moments and two counts, of own storage; its cut-off was not kept: the start stands for it."""
    database = schema_editor.connection.alias
    runs = apps.get_model("cleaner", "CleanerRun").objects.using(database)
    for row in apps.get_model("cleaner", "CleanerProgress").objects.using(database).exclude(last_report=None):
        report = row.last_report
        started_at = datetime.fromisoformat(report["started_at"])
        runs.create(
            object_id=row.object_id,
            target="storage",
            started_at=started_at,
            ended_at=datetime.fromisoformat(report["ended_at"]),
            older_than=started_at,
            examined=report["examined"],
            removed=report["removed"],
        )


def to_reports(apps, schema_editor):
    """The other way: the last cleanup that ended."""
    database = schema_editor.connection.alias
    runs = apps.get_model("cleaner", "CleanerRun").objects.using(database).exclude(ended_at=None).order_by("-id")
    for row in apps.get_model("cleaner", "CleanerProgress").objects.using(database):
        run = runs.filter(object_id=row.object_id).first()
        if run is not None:
            moments = {"started_at": run.started_at.isoformat(), "ended_at": run.ended_at.isoformat()}
            row.last_report = {**moments, "examined": run.examined, "removed": run.removed}
            row.save()


class Migration(migrations.Migration):

    dependencies = [
        ('cleaner', '0002_cleaner_runs'),
    ]

    operations = [
        migrations.RunPython(to_runs, to_reports),
        migrations.RemoveField(
            model_name='cleanerprogress',
            name='last_report',
        ),
    ]
