%% Prints what bc_gitops says of itself and of its apps, a line whenever it changes. The record
%% definitions come from the dependency's public header.
-module(shop).
-behaviour(gen_server).
-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-include_lib("bc_gitops/include/bc_gitops.hrl").

start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

init([]) ->
    io:format("shop: abi ~p~n", [bc_gitops_native:abi()]),
    self() ! look,
    {ok, []}.

handle_call(_, _, Said) -> {reply, ok, Said}.

handle_cast(_, Said) -> {noreply, Said}.

handle_info(look, Said) ->
    Lines = lines(),
    [io:put_chars(Line) || Line <- Lines -- Said],
    erlang:send_after(100, self(), look),
    {noreply, Lines}.

lines() ->
    case bc_gitops:status() of
        {ok, #{status := Status, app_count := Apps, healthy_count := Healthy}} ->
            Whole = text("shop: ~s, ~b apps, ~b healthy~n", [Status, Apps, Healthy]),
            [Whole | lists:flatmap(fun app/1, names())];
        {error, not_running} ->
            [text("shop: not running~n", [])]
    end.

%% What git names; until it was read, what runs.
names() ->
    {ok, Current} = bc_gitops:get_current_state(),
    case bc_gitops:get_desired_state() of
        {ok, Desired} -> maps:keys(maps:merge(Current, Desired));
        {error, _} -> maps:keys(Current)
    end.

app(App) ->
    case bc_gitops:get_app_status(App) of
        {ok, #app_state{name = Name, version = Version, status = Status, details = Details}} ->
            Error = maps:get(last_error, Details, undefined),
            [text("shop: ~s ~s ~s, error: ~0tp~n", [Name, Version, Status, Error])];
        {error, not_found} ->
            []
    end.

text(Format, Args) -> unicode:characters_to_list(io_lib:format(Format, Args)).
