import django.db.models.deletion
from django.db import migrations, models

KINDS = (
    'UPDATE durable_objects_schedule SET kind_id = '
    '(SELECT o.kind_id FROM durable_objects_object o WHERE o.id = durable_objects_schedule.object_id)'
)


class Migration(migrations.Migration):

    dependencies = [
        ('contenttypes', '0002_remove_content_type_name'),
        ('durable_objects', '0006_lists_by_class'),
    ]

    operations = [
        migrations.AddField(
            model_name='schedule',
            name='kind',
            field=models.ForeignKey(db_constraint=False, db_index=False, editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='contenttypes.contenttype'),
        ),
        migrations.RunSQL(KINDS, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name='schedule',
            name='kind',
            field=models.ForeignKey(db_constraint=False, db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='contenttypes.contenttype'),
        ),
        migrations.AddIndex(
            model_name='schedule',
            index=models.Index(fields=['kind', 'due_at'], name='durable_objects_kind_due'),
        ),
    ]
