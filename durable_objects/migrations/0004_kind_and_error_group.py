from typing import Any

import django.db.models.deletion
from django.db import migrations, models

from durable_objects.alarms.error_groups import fingerprint

AT_ONCE = 1_000

KINDS = (
    'UPDATE durable_objects_alarm SET kind_id = '
    '(SELECT o.kind_id FROM durable_objects_object o WHERE o.id = durable_objects_alarm.object_id)'
)


def group_errors(apps: Any, schema_editor: Any) -> None:
    for name in ('Alarm', 'Schedule'):
        rows = apps.get_model('durable_objects', name)._base_manager.using(schema_editor.connection.alias)
        seen = 0
        while found := list(rows.filter(pk__gt=seen).exclude(last_error='').order_by('pk')[:AT_ONCE]):
            for row in found:
                row.error_group = fingerprint(row.last_error)
            rows.bulk_update(found, ['error_group'])
            seen = found[-1].pk


class Migration(migrations.Migration):

    dependencies = [
        ('contenttypes', '0002_remove_content_type_name'),
        ('durable_objects', '0003_processes'),
    ]

    operations = [
        migrations.AddField(
            model_name='alarm',
            name='error_group',
            field=models.CharField(blank=True, db_default='', default='', max_length=16),
        ),
        migrations.AddField(
            model_name='schedule',
            name='error_group',
            field=models.CharField(blank=True, db_default='', default='', max_length=16),
        ),
        migrations.AddField(
            model_name='alarm',
            name='kind',
            field=models.ForeignKey(db_constraint=False, db_index=False, editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='contenttypes.contenttype'),
        ),
        migrations.RunSQL(KINDS, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name='alarm',
            name='kind',
            field=models.ForeignKey(db_constraint=False, db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='contenttypes.contenttype'),
        ),
        migrations.AddIndex(
            model_name='alarm',
            index=models.Index(condition=models.Q(('wake_at__isnull', False)), fields=['kind', 'wake_at'], name='durable_objects_kind_wake'),
        ),
        migrations.AddIndex(
            model_name='alarm',
            index=models.Index(condition=models.Q(('retry_count__gt', 0), ('state', 'armed')), fields=['kind', 'due_at'], name='durable_objects_kind_retrying'),
        ),
        migrations.AddIndex(
            model_name='alarm',
            index=models.Index(condition=models.Q(('state', 'dead')), fields=['kind', 'object'], name='durable_objects_kind_dead'),
        ),
        migrations.AddIndex(
            model_name='alarm',
            index=models.Index(condition=models.Q(('state', 'dead')), fields=['error_group', 'kind', 'object'], name='durable_objects_dead_by_error'),
        ),
        migrations.AddIndex(
            model_name='schedule',
            index=models.Index(condition=models.Q(('died_at__isnull', False)), fields=['error_group', 'object'], name='durable_objects_died_by_error'),
        ),
        # Last: PostgreSQL changes no table of which rows were written twice in the transaction.
        migrations.RunPython(group_errors, migrations.RunPython.noop),
    ]
