%%% @doc What belongs to OTP.
-module(bc_gitops_otp).

-export([applications/0]).

%% @doc The applications of OTP, of the releases that this version knows.
-spec applications() -> [atom()].
applications() ->
    [
        asn1, common_test, compiler, crypto, debugger, dialyzer, diameter, edoc, eldap, erl_docgen,
        erl_interface, erts, et, eunit, ftp, inets, jinterface, kernel, megaco, mnesia, observer,
        odbc, os_mon, parsetools, public_key, reltool, runtime_tools, sasl, snmp, ssh, ssl, stdlib,
        syntax_tools, tftp, tools, wx, xmerl
    ].
