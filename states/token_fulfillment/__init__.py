"""PingOne's workflow *Use an authentication JWT for token fulfillment*, as a state machine.

The table, as the states declare it (``orchestrator graph`` draws it)::

    create_application       done → read_application_secret
    read_application_secret  done → create_resource
    create_resource          done → create_scope
    create_scope             done → map_attribute
    map_attribute            done → grant_access
    grant_access             done → create_population
    create_population        done → create_user
    create_user              done → set_password
    set_password             done → authorize
    authorize                done → start_flow
    start_flow               done → submit_credentials   flow_expired → authorize
    submit_credentials       done → resume_flow          flow_expired → authorize
    resume_flow              done → exchange_token       flow_expired → authorize
    exchange_token           done → introspect_token     code_expired, code_spent → authorize
    introspect_token         done → completed            token_expired, claim_missing, again → authorize
"""

from orchestrator import Segment, Workflow
from states.pingone import PingOne
from states.token_fulfillment.applications import CreateApplication, ReadApplicationSecret
from states.token_fulfillment.context import TokenContext, TokenRow, initial_context, prove
from states.token_fulfillment.resources import CreateResource, CreateScope, GrantAccess, MapAttribute
from states.token_fulfillment.services import check, forget, notices, open_services, open_shared, prepare, quotas, rates
from states.token_fulfillment.settings import TokenFulfillmentSettings
from states.token_fulfillment.sign_on import Authorize, ResumeFlow, StartFlow, SubmitCredentials
from states.token_fulfillment.tokens import ExchangeToken, IntrospectToken
from states.token_fulfillment.users import CreatePopulation, CreateUser, SetPassword

WORKFLOW: Workflow[TokenContext, PingOne] = Workflow(
    name="token-fulfillment",
    version=1,
    summary="PingOne: a claim of the client's assertion becomes a claim of the access token",
    context=TokenContext,
    states=(
        CreateApplication(),
        ReadApplicationSecret(),
        CreateResource(),
        CreateScope(),
        MapAttribute(),
        GrantAccess(),
        CreatePopulation(),
        CreateUser(),
        SetPassword(),
        Authorize(),
        StartFlow(),
        SubmitCredentials(),
        ResumeFlow(),
        ExchangeToken(),
        IntrospectToken(),
    ),
    row=TokenRow,
    initial_context=initial_context,
    open_services=open_services,
    forget=forget,
    open_shared=open_shared,
    settings=TokenFulfillmentSettings,
    prove=prove,
    prepare=prepare,
    check=check,
    notices=notices,
    rates=rates,
    quotas=quotas,
    segments=(Segment("provisioning", "create_application", "set_password"), Segment("sign_on", "authorize", "exchange_token")),
)

__all__ = ["WORKFLOW", "TokenContext", "TokenFulfillmentSettings", "TokenRow"]
