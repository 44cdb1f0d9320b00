"""The page, and what its buttons post to."""

from django.urls import path

from shop import views

urlpatterns = [
    path("", views.index, name="index"),
    path("sign-up", views.sign_up, name="sign-up"),
    path("extend", views.extend, name="extend"),
    path("upgrade", views.upgrade, name="upgrade"),
    path("add", views.add, name="add"),
    path("check-out", views.check_out, name="check-out"),
]
