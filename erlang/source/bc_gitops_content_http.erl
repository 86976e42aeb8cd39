%%% @doc A web server as a store: `URL/MCID'. Which urls are allowed, credentials, proxies and
%%% certificates are those of every other download.
-module(bc_gitops_content_http).
-behaviour(bc_gitops_content_store).

-export([get/2, name/1]).

-spec get({http, binary()}, bc_gitops_content_store:asked()) ->
    {ok, binary()} | not_found | {error, {atom(), map()}}.
get({http, Url}, #{mcid := Mcid, limit := Limit, to := To, until := Until} = Asked) ->
    #{on_progress := OnProgress, options := Options} = Asked,
    Left = max(1, Until - erlang:monotonic_time(millisecond)),
    #{auth := Auth} = bc_gitops_source:access(Options#{timeout => Left}),
    Request = #{url => <<Url/binary, "/", Mcid/binary>>, path => To, max_bytes => Limit,
                timeout => Left, auth => Auth},
    Start = fun(Pid, Ref) -> bc_gitops_native:download_start(Request, Pid, Ref) end,
    case bc_gitops_job:run(Start, Left, OnProgress) of
        {ok, _} -> {ok, To};
        {error, {not_found, _}} -> not_found;
        {error, _} = Error -> Error
    end.

-spec name({http, binary()}) -> binary().
name({http, Url}) -> bc_gitops_config:public_url(Url).
