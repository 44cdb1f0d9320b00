from datetime import UTC, datetime, timezone

from django.db import migrations, models

from reminders.parsing import find_zone


def write_down_wall_times(apps, schema_editor):
    """Each plan says where its start stands on the clock of its zone."""
    Plan = apps.get_model("reminders", "Plan")
    for plan in Plan.objects.only("pk", "fire_at", "time_zone", "wall", "occurrence").iterator():
        offset = datetime.fromisoformat(plan.wall) - plan.occurrence.astimezone(UTC).replace(tzinfo=None)
        local = plan.fire_at.astimezone(find_zone(plan.time_zone) or timezone(offset))  # gone: as it was at last
        Plan.objects.filter(pk=plan.pk).update(start_wall=local.replace(tzinfo=None).isoformat())


class Migration(migrations.Migration):

    dependencies = [
        ('reminders', '0003_one_delivery_for_each_address'),
    ]

    operations = [
        migrations.AddField(
            model_name='plan',
            name='start_wall',
            field=models.CharField(default='', max_length=26),
            preserve_default=False,
        ),
        migrations.RunPython(write_down_wall_times, migrations.RunPython.noop, elidable=True),
    ]
