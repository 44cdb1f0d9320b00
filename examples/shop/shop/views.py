"""One page. Whoever signs up is remembered by the session."""

from contextlib import suppress
from datetime import timedelta

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from shop.models import Cart, Customer, Product, Trial, TrialOver


def index(request: HttpRequest) -> HttpResponse:
    """Show the products, and the customer's trial and cart with their alarms."""
    context: dict[str, object] = {"products": Product.objects.order_by("name")}
    customer = Customer.objects.filter(pk=request.session.get("customer", 0)).first()
    if customer is not None:
        cart = Cart.objects.get_by_name(customer.email)
        context |= {
            "customer": customer,
            "trial_ends": Trial.of(customer).storage.get_alarm(),
            "items": cart.storage.get("items", {}),
            "reminder_at": cart.storage.get_alarm(),
        }
    return render(request, "shop/index.html", context)


@require_POST
def sign_up(request: HttpRequest) -> HttpResponse:
    """Make a customer with a trial, or find the one with this address."""
    email = request.POST["email"]
    customer = Customer.objects.filter(email=email).first() or Customer.sign_up(email)
    request.session["customer"] = customer.pk
    return redirect("index")


@require_POST
def extend(request: HttpRequest) -> HttpResponse:
    """Give a week more."""
    with suppress(TrialOver):
        Trial.of(_customer(request)).extend(timedelta(days=7))
    return redirect("index")


@require_POST
def upgrade(request: HttpRequest) -> HttpResponse:
    """Pay."""
    Trial.of(_customer(request)).upgrade()
    return redirect("index")


@require_POST
def add(request: HttpRequest) -> HttpResponse:
    """Put a product into the cart."""
    product = get_object_or_404(Product, pk=request.POST["product"])
    Cart.objects.get_by_name(_customer(request).email).add(product.name)
    return redirect("index")


@require_POST
def check_out(request: HttpRequest) -> HttpResponse:
    """Empty the cart."""
    Cart.objects.get_by_name(_customer(request).email).check_out()
    return redirect("index")


def _customer(request: HttpRequest) -> Customer:
    return get_object_or_404(Customer, pk=request.session.get("customer"))
